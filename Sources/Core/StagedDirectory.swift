/// A directory that comes to be whole or not at all: it is filled under another name beside its place, and then given
/// its own.
///
/// Of ``begin()``, ``publish()`` and ``discard()`` each is called once, in this order, the last only where the second
/// was not or threw. A process that is killed in between leaves the directory under its other name, and the next
/// ``begin()`` for the same place removes it.
package protocol StagedDirectory: Sendable {
    /// The absolute path of its place.
    var path: String { get }

    /// What stands in its place. Throws a ``Failure`` (exit code 2) where that is something which can be neither
    /// replaced nor read: a file, a link, a mounted volume, or where there is no directory to put it in.
    func standing() async throws -> DirectoryStanding

    /// Bytes free for it.
    func freeBytes() async throws -> Int64

    /// Makes it, empty, under its other name, readable for this user alone. Where the files go, as objects of a
    /// store. Throws a ``Failure`` (exit code 75) where another process is filling it.
    func begin() async throws -> any Store

    /// Gives it its name, durably. Throws where something has come to stand there meanwhile.
    func publish() async throws

    /// Removes what ``begin()`` made and whatever was put there.
    func discard() async throws
}

package enum DirectoryStanding: Sendable {
    case absent
    case empty
    /// A directory that is not empty, to be read as a store.
    case filled(any Store)
}
