/// What this software calls itself.
public enum ServerVersion {
    public static let name = "Martlet"
    public static let number = "0.1.0"
}
