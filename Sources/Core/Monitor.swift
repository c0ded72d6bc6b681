import Glibc

/// A lock that threads can wait in for what others change: a mutex and a condition that belongs to it.
///
/// For threads only, and for what they wait long for: a task that blocks here holds a thread of the cooperative pool.
package final class Monitor: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    package init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    package func locked<Result>(_ body: () throws -> Result) rethrows -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    /// Waits for ``changed()``, only inside ``locked(_:)``. It may return for no reason: look again.
    package func wait() { pthread_cond_wait(condition, mutex) }

    /// Wakes all who wait, only inside ``locked(_:)``.
    package func changed() { pthread_cond_broadcast(condition) }
}
