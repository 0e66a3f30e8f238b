import ServerKit

extension Namespace {
    /// What anybody may ask. XEP-0060 §16.1.
    static let pubsub: Namespace = "http://jabber.org/protocol/pubsub"
    /// What owners may ask.
    static let pubsubOwner: Namespace = "http://jabber.org/protocol/pubsub#owner"
    /// What subscribers are told.
    static let pubsubEvent: Namespace = "http://jabber.org/protocol/pubsub#event"
    /// What went wrong.
    static let pubsubErrors: Namespace = "http://jabber.org/protocol/pubsub#errors"
    /// Extended addresses. XEP-0033 §2.
    static let addresses: Namespace = "http://jabber.org/protocol/address"

    /// A feature that disco tells of. XEP-0060 §10.
    static func pubsub(feature name: String) -> Namespace { Namespace("http://jabber.org/protocol/pubsub#\(name)") }
}

/// The types of the forms. XEP-0060 §16.4.
enum FormType {
    static let nodeConfiguration = "http://jabber.org/protocol/pubsub#node_config"
    static let metadata = "http://jabber.org/protocol/pubsub#meta-data"
    static let publishOptions = "http://jabber.org/protocol/pubsub#publish-options"
    static let subscribeOptions = "http://jabber.org/protocol/pubsub#subscribe_options"
    static let authorization = "http://jabber.org/protocol/pubsub#subscribe_authorization"
}

extension StanzaError {
    /// This error with a condition of XEP-0060.
    func pubsub(_ condition: String, feature: String? = nil) -> StanzaError {
        with(Element(condition, .pubsubErrors, ["feature": feature]))
    }

    /// Something this service, or this node, does not do.
    static func unsupported(_ feature: String) -> StanzaError {
        StanzaError.featureNotImplemented.pubsub("unsupported", feature: feature)
    }

    static let nodeIDRequired = StanzaError.badRequest.pubsub("nodeid-required")
    static let invalidJID = StanzaError.badRequest.pubsub("invalid-jid")
    static let jidRequired = StanzaError.badRequest.pubsub("jid-required")
    static let itemRequired = StanzaError.badRequest.pubsub("item-required")
    static let itemForbidden = StanzaError.badRequest.pubsub("item-forbidden")
    static let payloadRequired = StanzaError.badRequest.pubsub("payload-required")
    static let invalidPayload = StanzaError.badRequest.pubsub("invalid-payload")
    static let invalidOptions = StanzaError.badRequest.pubsub("invalid-options")
    static let payloadTooBig = StanzaError.notAcceptable.pubsub("payload-too-big")
    static let nodeFull = StanzaError.conflict.pubsub("node-full")
    static let preconditionNotMet = StanzaError.conflict.pubsub("precondition-not-met")
    static let unsupportedAccessModel = StanzaError.notAcceptable.pubsub("unsupported-access-model")
    static let closedNode = StanzaError.notAllowed.pubsub("closed-node")
    static let notInRosterGroup = StanzaError.notAuthorized.pubsub("not-in-roster-group")
    static let presenceRequired = StanzaError.notAuthorized.pubsub("presence-subscription-required")
    static let pendingSubscription = StanzaError.notAuthorized.pubsub("pending-subscription")
    /// XEP-0060 §6.5.9.3: reading without a subscription where it takes one.
    static let notSubscribedToRead = StanzaError.notAuthorized.pubsub("not-subscribed")
    /// XEP-0060 §6.2.3.2: the example has this type.
    static let notSubscribed = StanzaError(.unexpectedRequest, .cancel).pubsub("not-subscribed")
    static let tooManySubscriptions = StanzaError(.policyViolation, .wait).pubsub("too-many-subscriptions")
}
