import ServerKit

extension Feature {
    /// Making nodes. XEP-0060 §8.1.
    static let creation = Feature(
        ["create-nodes", "create-and-configure", "instant-nodes"],
        [Operation(.set, "create", with: "configure") { try await $0.create($1) }])
}

extension Service {
    fileprivate func create(_ request: Request) async throws -> Element? {
        guard home.mayCreateNodes(request.from) else { throw StanzaError.forbidden }
        let name = request.nodeName ?? RandomToken.make(bytes: 20)
        // One that is being deleted may be made anew when that is done.
        while let node = nodes[name], node.isClosing { await node.turn {} }
        var configuration = home.defaults(for: name)
        if let configure = request.companion {
            // XEP-0060 §8.1.3.
            guard configure["node"] == nil else { throw StanzaError.badRequest }
            if let form = try DataForm.find(in: configure) {
                guard form.formType == nil || form.formType == FormType.nodeConfiguration else {
                    throw StanzaError.badRequest("The form has the wrong FORM_TYPE.")
                }
                if form.kind != .cancel { try configuration.apply(form, context) }
            }
        }
        _ = try create(name, configuration, by: request.from)
        return Element("create", nil, ["node": name])
    }
}
