import Federation
import MUC
import PubSub
import ServerKit

/// The modules that come with the server, in the order of the manual. The one list: a module's folder, its line here
/// and its test are all there is of it.
public let bundledModules: [any Module.Type] = [
    ClientToServer.self, ServerToServer.self, TLS.self, SASL.self, Bind.self, StreamManagement.self, Roster.self,
    PresenceExchange.self,
    Messages.self, Offline.self, Disco.self, Caps.self, Ping.self, SoftwareVersion.self, EntityTime.self,
    LastActivity.self, Private.self, VCard.self, Register.self, ContactAddresses.self, Commands.self, Admin.self,
    Announce.self, Carbons.self, Blocking.self, SpamReports.self, Strangers.self, Brake.self, Guests.self, ExternalServices.self, Archive.self,
    ClientState.self, Push.self, SASL2.self, FAST.self, Clients.self, StreamLimits.self, PubSub.self, Bookmarks.self,
    Avatars.self, VCard4.self, Displayed.self, Keys.self, MUC.self, ComponentPort.self, ComponentRights.self,
    ExternalComponent.self,
    Proxy65.self,
]
