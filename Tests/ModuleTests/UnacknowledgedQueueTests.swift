import ServerKit
import Testing

@testable import Modules

@Suite("The queue of stream management (XEP-0198 §4)") struct UnacknowledgedQueueTests {
    private func queue(sent: UInt32 = 0, of count: Int) -> UnacknowledgedQueue {
        var queue = UnacknowledgedQueue(sent: sent)
        for _ in 0..<count { queue.append(.message(Message()), at: .zero) }
        return queue
    }

    @Test("Acknowledgements remove what they name, repeated and overtaken ones nothing")
    func acknowledging() throws {
        var queue = queue(of: 5)
        #expect(queue.sent == 5 && queue.acknowledged == 0 && queue.size >= 5 * 256)
        for (h, removed, left) in [(UInt32(0), 0, 5), (2, 2, 3), (2, 0, 3), (1, 0, 3), (5, 3, 0), (0, 0, 0)] {
            #expect(try queue.acknowledge(h) == removed)
            #expect(queue.items.count == left)
        }
        #expect(queue.size == 0)
    }

    @Test("A number that is too high is refused and changes nothing")
    func tooHigh() {
        var queue = queue(of: 2)
        #expect(throws: UnacknowledgedQueue.HandledCountTooHigh(h: 3, sent: 2)) { try queue.acknowledge(3) }
        #expect(queue.items.count == 2)
    }

    @Test("Counting goes on at zero after 2³²-1")
    func wrapping() throws {
        var queue = queue(sent: .max - 1, of: 4)
        #expect(queue.sent == 2 && queue.acknowledged == .max - 1)
        #expect(try queue.acknowledge(.max) == 1)
        #expect(try queue.acknowledge(0) == 1)
        #expect(try queue.acknowledge(.max) == 0)
        #expect(throws: UnacknowledgedQueue.HandledCountTooHigh.self) { try queue.acknowledge(3) }
        #expect(try queue.acknowledge(2) == 2)
    }
}
