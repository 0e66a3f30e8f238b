@testable import ServerKit

@testable import Modules

/// A push service in the place of one on another server: keeps what is published, and answers as it is told.
final class PushService: Module {
    @ServerActor static var published: [IQ] = []
    @ServerActor static var answer: StanzaError?
    static let info = ModuleInfo("push_service", "Wakes phones", scope: .component)
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.answer(.set, "pubsub", .pushPubSub, on: .host) { request in
            Self.published.append(request.iq)
            if let answer = Self.answer { throw answer }
            return nil
        }
    }
}

/// Keeps resources whose stream was lost, and says what waits for them, as stream management does.
final class PushSleeper: Module {
    static let info = ModuleInfo("sleeper", "Keeps resources")
    init(options: NoOptions) {}
    func load(into host: ModuleHost) {
        host.claim(.resourceDetaching) { event in
            let bed = PushBed(event.resource)
            event.resource[PushBed.Key.self] = bed
            event.resource.attach(bed)
            return true
        }
    }
}

final class PushBed: ResourceLink {
    enum Key: ResourceKey { static var defaultValue: PushBed? { nil } }
    unowned let resource: Resource
    init(_ resource: Resource) { self.resource = resource }
    func deliver(_ stanza: Stanza) {
        resource.account.host.hooks.stanzaDelayed.notify(StanzaDelayEvent(resource: resource, stanza: stanza))
    }
    func close(_ error: StreamError?) { resource.account.remove(resource) }
}

final class PushDeafLink: ResourceLink {
    func deliver(_ stanza: Stanza) {}
    func close(_ error: StreamError?) {}
}
