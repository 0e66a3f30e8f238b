import ServerKit
import TestKit
import Testing

/// Steps of plays about an account's own nodes (XEP-0163).
extension TestKit.Actor {
    /// Publishes an item; its id is the service's to choose unless it is given.
    ///
    /// - Parameter options: fields of `publish-options`, such as `access_model: open`.
    func publishes(
        _ payload: String, id: String? = nil, at node: String, options: KeyValuePairs<String, String> = [:],
        file: String = #fileID, line: Int = #line
    ) async throws {
        try await asks(.set, Self.publish(payload, id, node, options), file: file, line: line)
    }

    /// Is refused when it publishes an item.
    @discardableResult
    func cannotPublish(
        _ payload: String, id: String? = nil, at node: String, file: String = #fileID, line: Int = #line
    ) async throws -> StanzaError {
        try await isRefused(.set, Self.publish(payload, id, node, [:]), file: file, line: line)
    }

    private static func publish(
        _ payload: String, _ id: String?, _ node: String, _ options: KeyValuePairs<String, String>
    ) -> String {
        let item = id.map { " id='\($0)'" } ?? ""
        var form = ""
        if !options.isEmpty {
            let fields = options.map { "<field var='pubsub#\($0.key)'><value>\($0.value)</value></field>" }
            form = """
                <publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>
                <value>http://jabber.org/protocol/pubsub#publish-options</value></field>\(fields.joined())</x>
                </publish-options>
                """
        }
        return """
            <pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='\(node)'><item\(item)>\(payload)</item>
            </publish>\(form)</pubsub>
            """
    }

    func retractsItem(_ id: String, at node: String) async throws {
        try await asks(
            .set,
            """
            <pubsub xmlns='http://jabber.org/protocol/pubsub'><retract node='\(node)' notify='true'>
            <item id='\(id)'/></retract></pubsub>
            """)
    }

    /// Deletes or purges a node.
    func owns(_ verb: String, _ node: String) async throws {
        try await asks(
            .set, "<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><\(verb) node='\(node)'/></pubsub>")
    }

    /// Lets others read a node.
    func opens(_ node: String, to access: String) async throws {
        try await asks(
            .set,
            """
            <pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='\(node)'>
            <x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>
            <value>http://jabber.org/protocol/pubsub#node_config</value></field>
            <field var='pubsub#access_model'><value>\(access)</value></field></x></configure></pubsub>
            """)
    }

    /// The items of a node; none when there is no such node, or nobody may know.
    func itemsAt(_ node: String, of owner: String? = nil) async throws -> [Element] {
        let query = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='\(node)'/></pubsub>"
        do {
            let answer = try await asks(.get, query, to: owner)
            return answer?.firstChild?.children.filter { $0.name == "item" } ?? []
        } catch is StanzaError {
            return []
        }
    }
}

extension Element {
    /// Whether it is this XML and nothing more, wherever the namespace was declared.
    func isExactly(_ xml: String) throws -> Bool {
        try Element.parse(xmlBytes).matches(Element.parse(xml), exactly: true)
    }
}
