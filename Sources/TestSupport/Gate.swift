import Glibc
import Synchronization

/// Holds threads up until it is opened, once and for good.
final class Gate: @unchecked Sendable {
    // A semaphore is made for several threads; every one that passes lets the next pass.
    private let semaphore: UnsafeMutablePointer<sem_t>
    private let opened = Atomic(false)

    init() {
        semaphore = .allocate(capacity: 1)
        sem_init(semaphore, 0, 0)
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    var isOpen: Bool { opened.load(ordering: .acquiring) }

    func wait() {
        while sem_wait(semaphore) != 0 {}
        sem_post(semaphore)
    }

    func open() {
        opened.store(true, ordering: .releasing)
        sem_post(semaphore)
    }
}
