import ServerKit

/// What the fields of a node's configuration need to know about its service.
struct ConfigurationContext: Sendable {
    let accessModels: [AccessModel]
    let knowsPresence: Bool
    let maxItems: Int
    let itemSize: Int
    /// Bytes in a text.
    let textLimit: Int

    /// For what was stored, which is what it is even if less is allowed by now.
    static let stored = ConfigurationContext(
        accessModels: AccessModel.allCases, knowsPresence: true, maxItems: .max, itemSize: .max, textLimit: .max)
}

/// One field of a node's configuration: the form that shows it, how it is read, what is stored. XEP-0060 §16.4.4.
struct ConfigurationField {
    let name: String
    /// The field with the node's value.
    let form: @Sendable (NodeConfiguration, ConfigurationContext) -> DataFormField
    /// Takes over what was submitted; the form has been checked against ``form``.
    let read: @Sendable (DataForm, inout NodeConfiguration, ConfigurationContext) throws(StanzaError) -> Void

    private init(
        _ name: String, _ form: @escaping @Sendable (NodeConfiguration, ConfigurationContext) -> DataFormField,
        read: @escaping @Sendable (DataForm, inout NodeConfiguration, ConfigurationContext) throws(StanzaError) -> Void
    ) {
        self.name = name
        self.form = form
        self.read = read
    }

    // MARK: Kinds of fields

    private static func bool(
        _ name: String, _ label: String, _ path: any WritableKeyPath<NodeConfiguration, Bool> & Sendable
    ) -> ConfigurationField {
        ConfigurationField("pubsub#" + name) { configuration, _ in
            .boolean("pubsub#" + name, configuration[keyPath: path], label: label)
        } read: { form, configuration, _ throws(StanzaError) in
            if let value = try form.bool("pubsub#" + name) { configuration[keyPath: path] = value }
        }
    }

    private static func text(
        _ name: String, _ label: String, _ path: any WritableKeyPath<NodeConfiguration, String> & Sendable
    ) -> ConfigurationField {
        ConfigurationField("pubsub#" + name) { configuration, _ in
            let value = configuration[keyPath: path]
            return .text("pubsub#" + name, value.isEmpty ? nil : value, label: label)
        } read: { form, configuration, context throws(StanzaError) in
            guard let value = form.text("pubsub#" + name) else { return }
            guard value.utf8.count <= context.textLimit else {
                throw .notAcceptable("The field pubsub#\(name) is too long.")
            }
            configuration[keyPath: path] = value
        }
    }

    private static func choice<Choice: RawRepresentable<String> & CaseIterable & Sendable>(
        _ name: String, _ label: String, _ path: any WritableKeyPath<NodeConfiguration, Choice> & Sendable
    ) -> ConfigurationField {
        ConfigurationField("pubsub#" + name) { configuration, _ in
            DataFormField(
                "pubsub#" + name, .listSingle, label: label, values: [configuration[keyPath: path].rawValue],
                options: Choice.allCases.map { .init($0.rawValue) })
        } read: { form, configuration, _ throws(StanzaError) in
            if let value = try form.choice("pubsub#" + name, of: Choice.self) { configuration[keyPath: path] = value }
        }
    }

    /// Something that only has one value here. Clients that ask for it get it, those that ask for another are refused.
    private static func fixed(_ name: String, _ label: String, _ value: Bool) -> ConfigurationField {
        ConfigurationField("pubsub#" + name) { _, _ in
            .boolean("pubsub#" + name, value, label: label)
        } read: { form, _, _ throws(StanzaError) in
            guard let wanted = try form.bool("pubsub#" + name), wanted != value else { return }
            throw .notAcceptable("The field pubsub#\(name) cannot be changed here.")
        }
    }

    // MARK: The fields

    static let all: [ConfigurationField] = [
        text("title", "A friendly name for the node", \.title),
        text("description", "A description of the node", \.description),
        language, contacts,
        text("type", "The namespace of the payloads", \.type),
        accessModel, rosterGroups,
        choice("publish_model", "Who may publish", \.publishModel),
        bool("subscribe", "Whether to allow subscriptions", \.allowsSubscriptions),
        bool("persist_items", "Whether to keep items", \.persistsItems),
        maxItems, itemExpire, maxPayloadSize,
        choice("publish_node_full", "What happens when one item more than fits is published", \.fullBehaviour),
        bool("deliver_notifications", "Whether to deliver event notifications", \.deliversNotifications),
        bool("deliver_payloads", "Whether to deliver payloads with event notifications", \.deliversPayloads),
        presenceBasedDelivery,
        choice("notification_type", "The type of the notifications", \.notificationType),
        choice("send_last_published_item", "When to send the last published item", \.sendLastItem),
        bool("notify_config", "Notify subscribers when the configuration changes", \.notifiesConfiguration),
        bool("notify_delete", "Notify subscribers when the node is deleted", \.notifiesDeletion),
        bool("notify_retract", "Notify subscribers when items are removed", \.notifiesRetraction),
        bool("notify_sub", "Notify owners about new subscribers and unsubscribes", \.notifiesSubscriptions),
        itemReply,
        fixed("purge_offline", "Purge all items when the publisher goes offline", false),
        nodeType,
    ]

    private static let accessModel = ConfigurationField("pubsub#access_model") { configuration, context in
        DataFormField(
            "pubsub#access_model", .listSingle, label: "Who may subscribe and retrieve items",
            values: [configuration.accessModel.rawValue], options: context.accessModels.map { .init($0.rawValue) })
    } read: { form, configuration, _ throws(StanzaError) in
        if let value = try form.choice("pubsub#access_model", of: AccessModel.self) {
            configuration.accessModel = value
        }
    }

    private static let rosterGroups = ConfigurationField("pubsub#roster_groups_allowed") { configuration, _ in
        // Groups may be named before anybody is in them.
        DataFormField(
            "pubsub#roster_groups_allowed", .listMulti, label: "Roster groups allowed to subscribe",
            values: configuration.rosterGroups, options: configuration.rosterGroups.map { .init($0) },
            validation: DataFormValidation("xs:string", .open))
    } read: { form, configuration, context throws(StanzaError) in
        guard let values = form["pubsub#roster_groups_allowed"]?.values.filter({ !$0.isEmpty }) else { return }
        guard values.count <= 100, values.allSatisfy({ $0.utf8.count <= context.textLimit }) else {
            throw .notAcceptable("There are too many groups, or their names are too long.")
        }
        configuration.rosterGroups = values
    }

    private static let contacts = ConfigurationField("pubsub#contact") { configuration, _ in
        DataFormField(
            "pubsub#contact", .jidMulti, label: "People to contact with questions",
            values: configuration.contacts.map(\.description))
    } read: { form, configuration, _ throws(StanzaError) in
        guard let jids = try form.jids("pubsub#contact") else { return }
        guard jids.count <= 20 else { throw .notAcceptable("There are too many contacts.") }
        configuration.contacts = jids
    }

    private static let language = ConfigurationField("pubsub#language") { configuration, _ in
        let value = configuration.language
        return DataFormField(
            "pubsub#language", .listSingle, label: "The default language of the node",
            values: value.isEmpty ? [] : [value], options: value.isEmpty ? [] : [.init(value)],
            validation: DataFormValidation("xs:string", .open))
    } read: { form, configuration, _ throws(StanzaError) in
        guard let value = form.text("pubsub#language") else { return }
        // RFC 5646 §4.4.1: no registered tag comes near.
        guard value.utf8.count <= 64 else { throw .notAcceptable("The field pubsub#language is too long.") }
        configuration.language = value
    }

    private static let maxItems = ConfigurationField("pubsub#max_items") { configuration, _ in
        .text("pubsub#max_items", configuration.maxItems.text, label: "How many items to keep, or max")
    } read: { form, configuration, context throws(StanzaError) in
        guard let text = form.trimmed("pubsub#max_items") else { return }
        guard let limit = ItemLimit(text), limit.count ?? 1 <= context.maxItems, limit.count != 0 else {
            throw .notAcceptable("The field pubsub#max_items is max, or a number up to \(context.maxItems).")
        }
        configuration.maxItems = limit
    }

    private static let itemExpire = ConfigurationField("pubsub#item_expire") { configuration, _ in
        .text(
            "pubsub#item_expire", configuration.itemExpire.map(String.init) ?? "max",
            label: "Seconds after which items are purged, or max")
    } read: { form, configuration, _ throws(StanzaError) in
        guard let text = form.trimmed("pubsub#item_expire") else { return }
        if text == "max" {
            configuration.itemExpire = nil
            return
        }
        guard let seconds = Int32(text), seconds > 0 else {
            throw .notAcceptable("The field pubsub#item_expire is max, or a number of seconds.")
        }
        configuration.itemExpire = Int(seconds)
    }

    private static let maxPayloadSize = ConfigurationField("pubsub#max_payload_size") { configuration, context in
        let size = min(configuration.maxPayloadSize ?? context.itemSize, context.itemSize)
        return .text("pubsub#max_payload_size", String(size), label: "The largest payload, in bytes")
    } read: { form, configuration, context throws(StanzaError) in
        guard let size = try form.int("pubsub#max_payload_size", in: 1...context.itemSize) else { return }
        configuration.maxPayloadSize = size == context.itemSize ? nil : size
    }

    private static let presenceBasedDelivery = ConfigurationField("pubsub#presence_based_delivery") {
        configuration, _ in
        .boolean(
            "pubsub#presence_based_delivery", configuration.presenceBasedDelivery,
            label: "Deliver event notifications only to available users")
    } read: { form, configuration, context throws(StanzaError) in
        guard let value = try form.bool("pubsub#presence_based_delivery") else { return }
        guard !value || context.knowsPresence else {
            throw .notAcceptable("This service knows nothing of its subscribers' presence.")
        }
        configuration.presenceBasedDelivery = value
    }

    private static let itemReply = ConfigurationField("pubsub#itemreply") { configuration, _ in
        DataFormField(
            "pubsub#itemreply", .listSingle, label: "Whether items tell who published them: publisher, if so",
            values: configuration.itemReply.map { [$0.rawValue] } ?? [],
            options: ItemReply.allCases.map { .init($0.rawValue) })
    } read: { form, configuration, _ throws(StanzaError) in
        guard form["pubsub#itemreply"] != nil else { return }
        configuration.itemReply = try form.choice("pubsub#itemreply", of: ItemReply.self)
    }

    private static let nodeType = ConfigurationField("pubsub#node_type") { _, _ in
        DataFormField(
            "pubsub#node_type", .listSingle, label: "The type of the node", values: ["leaf"], options: [.init("leaf")])
    } read: { _, _, _ throws(StanzaError) in
    }
}

extension NodeConfiguration {
    /// The form that shows this configuration. XEP-0060 §8.2.2.
    func form(_ kind: DataForm.Kind, _ context: ConfigurationContext) -> DataForm {
        DataForm(
            kind, formType: FormType.nodeConfiguration, fields: ConfigurationField.all.map { $0.form(self, context) })
    }

    /// Takes over what was submitted; fields that are left out stay as they are, as XEP-0004 §3.5 says.
    ///
    /// - Throws: the error that XEP-0060 asks for, with nothing changed.
    mutating func apply(_ submission: DataForm, _ context: ConfigurationContext) throws(StanzaError) {
        if let model = submission["pubsub#access_model"]?.value {
            guard context.accessModels.contains(where: { $0.rawValue == model }) else { throw .unsupportedAccessModel }
        }
        let form = try self.form(.form, context).read(submission)
        var changed = self
        for field in ConfigurationField.all where form[field.name] != nil { try field.read(form, &changed, context) }
        self = changed
    }

    /// What is stored: the fields that differ from the first configuration of all nodes.
    var stored: [String: [String]] {
        guard self != .personal else { return [:] }
        var result: [String: [String]] = [:]
        for field in ConfigurationField.all {
            let values = field.form(self, .stored).values
            if values != field.form(.personal, .stored).values { result[field.name] = values }
        }
        return result
    }

    /// Reads what was stored.
    init(stored values: [String: [String]]) {
        self = .personal
        guard !values.isEmpty else { return }
        let form = DataForm(.submit, fields: values.map { DataFormField($0.key, values: $0.value) })
        for field in ConfigurationField.all where values[field.name] != nil {
            var changed = self
            // A value of a later version is nothing that this one can follow.
            guard (try? field.read(form, &changed, .stored)) != nil else { continue }
            self = changed
        }
    }
}

extension ItemLimit {
    init?(_ text: String) {
        if text == "max" {
            self = .max
        } else if let count = Int(text), count >= 0, text.utf8.allSatisfy({ 0x30...0x39 ~= $0 }) {
            self = .count(count)
        } else {
            return nil
        }
    }

    var text: String {
        switch self {
        case .count(let count): String(count)
        case .max: "max"
        }
    }

    var count: Int? {
        if case .count(let count) = self { count } else { nil }
    }
}

extension DataForm {
    /// A value without the white space around it; nil when it is missing or empty.
    fileprivate func trimmed(_ name: String) -> String? {
        guard let text = text(name)?.trimmedXMLSpace, !text.isEmpty else { return nil }
        return text
    }
}
