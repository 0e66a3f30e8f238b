import ServerKit
