extension AdHocCommand {
    /// The FORM_TYPE of service administration, and the beginning of its nodes. XEP-0133 §8.2.
    public static let administration = "http://jabber.org/protocol/admin"

    /// A command for administrators that asks one form. XEP-0133 §4.
    ///
    /// - Parameters:
    ///   - name: the part of the node after `#`.
    ///   - title: what clients show.
    ///   - fields: what is asked for, made anew for each run.
    ///   - submit: gets what was filled in, checked against the fields.
    public static func administration(
        _ name: String, _ title: String, asking fields: @escaping @Sendable @ServerActor () throws -> [DataFormField],
        submit: @escaping @Sendable @ServerActor (DataForm, Context) async throws -> Step
    ) -> AdHocCommand {
        AdHocCommand("\(administration)#\(name)", title) { _ in
            let form = DataForm(.form, formType: administration, title: title, fields: try fields())
            return .form(form, next: submit)
        }
    }

    /// A command for administrators that asks nothing. XEP-0133 §4.
    public static func administration(
        _ name: String, _ title: String, run: @escaping @Sendable @ServerActor (Context) async throws -> Step
    ) -> AdHocCommand {
        AdHocCommand("\(administration)#\(name)", title, start: run)
    }
}

extension AdHocCommand.Step {
    /// Done, with these results. XEP-0133 §4.
    public static func results(_ fields: DataFormField..., note: String? = nil) -> Self {
        .done(DataForm(.result, formType: AdHocCommand.administration, fields: fields), note: note)
    }
}
