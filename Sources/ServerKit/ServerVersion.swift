/// What this software calls itself.
public enum ServerVersion {
    public static let name = "Martlet"
    public static let number = "0.1.0"
    /// Identifies the software in entity capabilities. XEP-0115 §4.
    public static let node = "urn:martlet:server"
}
