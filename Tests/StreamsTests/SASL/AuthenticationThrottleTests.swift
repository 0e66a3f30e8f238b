import Streams
import Testing

@Suite("The authentication throttle") struct AuthenticationThrottleTests {
    typealias Rule = AuthenticationThrottle.Rule
    static let lenient = Rule(
        free: 1000, firstDelay: .seconds(1), maximumDelay: .seconds(1), forgiveness: .seconds(1000))
    static let strict = Rule(
        free: 3, firstDelay: .seconds(2), maximumDelay: .seconds(30), forgiveness: .seconds(100))
    let home = PeerNetwork("192.0.2.1")

    @Test("Some failures are free; then each wait is twice the last, up to a limit", arguments: [
        (3, 0), (4, 2), (5, 4), (6, 8), (7, 16), (8, 30), (9, 30), (60, 30), (1000, 30),
    ])
    func backOff(failures: Int, wait: Int) {
        var byNetwork = AuthenticationThrottle(network: Self.strict, account: Self.lenient)
        var byAccount = AuthenticationThrottle(network: Self.lenient, account: Self.strict)
        for _ in 0..<failures {
            byNetwork.recordFailure(address: home, account: "romeo", now: .seconds(10))
            byAccount.recordFailure(address: home, account: "romeo", now: .seconds(10))
        }
        let expected: AuthenticationThrottle.Verdict = wait == 0 ? .allowed : .refused(retryAfter: .seconds(wait))
        let now = Duration.seconds(10)
        #expect(byNetwork.verdict(address: home, account: nil, now: now) == expected)
        #expect(byNetwork.verdict(address: home, account: "juliet", now: now) == expected)
        #expect(byNetwork.verdict(address: PeerNetwork("192.0.2.2"), account: "romeo", now: now) == .allowed)
        #expect(byAccount.verdict(address: PeerNetwork("192.0.2.2"), account: "romeo", now: now) == expected)
        #expect(byAccount.verdict(address: nil, account: "romeo", now: now) == expected)
        #expect(byAccount.verdict(address: home, account: "juliet", now: now) == .allowed)
        #expect(byAccount.verdict(address: home, account: "romeo", now: now + .seconds(wait)) == .allowed)
        if wait > 0 {
            #expect(
                byAccount.verdict(address: home, account: "romeo", now: now + .seconds(wait - 1))
                    == .refused(retryAfter: .seconds(1)))
        }
    }

    @Test("The longer wait counts")
    func both() {
        var throttle = AuthenticationThrottle(network: Self.strict, account: Self.strict)
        for _ in 0..<4 { throttle.recordFailure(address: home, account: nil, now: .zero) }
        for _ in 0..<5 { throttle.recordFailure(address: nil, account: "romeo", now: .zero) }
        #expect(throttle.verdict(address: home, account: "romeo", now: .zero) == .refused(retryAfter: .seconds(4)))
        #expect(throttle.verdict(address: home, account: nil, now: .zero) == .refused(retryAfter: .seconds(2)))
    }

    @Test("Failures are forgotten one by one")
    func decay() {
        var throttle = AuthenticationThrottle(network: Self.lenient, account: Self.strict)
        for _ in 0..<5 { throttle.recordFailure(address: nil, account: "romeo", now: .zero) }
        // Two forgiven, one added: four.
        throttle.recordFailure(address: nil, account: "romeo", now: .seconds(250))
        #expect(
            throttle.verdict(address: nil, account: "romeo", now: .seconds(250)) == .refused(retryAfter: .seconds(2)))
        // The half left over counts: at 300 one more is forgiven.
        throttle.recordFailure(address: nil, account: "romeo", now: .seconds(300))
        #expect(
            throttle.verdict(address: nil, account: "romeo", now: .seconds(300)) == .refused(retryAfter: .seconds(2)))
        throttle.recordFailure(address: nil, account: "romeo", now: .seconds(100_000))
        #expect(throttle.verdict(address: nil, account: "romeo", now: .seconds(100_000)) == .allowed)
    }

    @Test("A success clears the account, not the network")
    func success() {
        var throttle = AuthenticationThrottle(network: Self.strict, account: Self.strict)
        for _ in 0..<4 { throttle.recordFailure(address: home, account: "romeo", now: .zero) }
        throttle.recordSuccess(account: "romeo")
        #expect(throttle.verdict(address: nil, account: "romeo", now: .zero) == .allowed)
        #expect(throttle.verdict(address: home, account: "romeo", now: .zero) == .refused(retryAfter: .seconds(2)))
        throttle.recordSuccess(account: "nobody")
    }

    @Test("Memory is bounded, and the oldest goes first")
    func capacity() {
        var rule = Self.strict
        rule.capacity = 100
        var throttle = AuthenticationThrottle(network: rule, account: rule)
        for _ in 0..<4 { throttle.recordFailure(address: nil, account: "old", now: .zero) }
        for _ in 0..<4 { throttle.recordFailure(address: nil, account: "recent", now: .seconds(1)) }
        for index in 0..<98 { throttle.recordFailure(address: nil, account: "a\(index)", now: .seconds(2)) }
        #expect(throttle.count == 100)
        throttle.recordFailure(address: nil, account: "recent", now: .seconds(3))
        #expect(throttle.count == 100)
        throttle.recordFailure(address: nil, account: "one more", now: .seconds(3))
        #expect(throttle.count <= 100)
        #expect(throttle.verdict(address: nil, account: "old", now: .seconds(1)) == .allowed)
        #expect(throttle.verdict(address: nil, account: "recent", now: .seconds(3)) != .allowed)
        for index in 0..<2000 {
            throttle.recordFailure(
                address: PeerNetwork(bytes: [10, 0, UInt8(index / 256), UInt8(index % 256)]), account: "b\(index)",
                now: .seconds(4))
            #expect(throttle.count <= 200)
        }
        // What is forgiven makes room before anything else does.
        for index in 0..<20 { throttle.recordFailure(address: nil, account: "c\(index)", now: .seconds(10_000)) }
        #expect(throttle.count <= 120)
    }

    @Test("A clock that stands still or goes back does no harm, nor do odd rules")
    func oddities() {
        var throttle = AuthenticationThrottle(network: Self.strict, account: Self.strict)
        for now in [100, 50, -20, 0, 100] { throttle.recordFailure(address: home, account: nil, now: .seconds(now)) }
        #expect(throttle.verdict(address: home, account: nil, now: .seconds(100)) != .allowed)
        #expect(throttle.verdict(address: home, account: nil, now: .zero) == .refused(retryAfter: .seconds(30)))
        let odd = Rule(free: 0, firstDelay: .zero, maximumDelay: .zero, forgiveness: .nanoseconds(1), capacity: 0)
        throttle = AuthenticationThrottle(network: odd, account: odd)
        for now in 0..<10 { throttle.recordFailure(address: home, account: "\(now)", now: .seconds(now * 1_000_000)) }
        #expect(throttle.verdict(address: home, account: "9", now: .seconds(9_000_000)) == .allowed)
        #expect(throttle.count <= 2)
    }

    @Test("IPv6 counts by /64, and IPv4 is IPv4 in either form")
    func networks() {
        #expect(PeerNetwork("2001:db8:0:1::1") == PeerNetwork("2001:db8:0:1:ffff::2"))
        #expect(PeerNetwork("2001:db8:0:1::1") != PeerNetwork("2001:db8:0:2::1"))
        #expect(PeerNetwork("fe80::1%eth0") == PeerNetwork("fe80::2"))
        #expect(PeerNetwork("::ffff:192.0.2.1") == home)
        #expect(PeerNetwork(bytes: [192, 0, 2, 1]) == home)
        #expect(PeerNetwork("192.0.2.2") != home)
        #expect(PeerNetwork("::") != PeerNetwork("0.0.0.0"))
        #expect(PeerNetwork("::c000:201") != home)
        for text in ["", "romeo", "192.0.2", "192.0.2.256", "[::1]", "192.0.2.1:5222", "1:2:3", "%"] {
            #expect(PeerNetwork(text) == nil)
        }
        for length in [0, 1, 3, 5, 15, 17] { #expect(PeerNetwork(bytes: [UInt8](repeating: 1, count: length)) == nil) }
    }
}
