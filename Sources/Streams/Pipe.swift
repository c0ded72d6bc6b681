import CLinux
import Core
import Glibc
import SystemPackage

/// A pipe of one mebibyte: at that size a blocking reader moves four times what it moves at the usual 64 KiB.
struct Pipe {
    var readEnd: FileDescriptor
    var writeEnd: FileDescriptor

    init() throws {
        var descriptors: [Int32] = [-1, -1]
        guard linux_pipe(&descriptors, Int32(Chunk.size)) == 0 else { throw Errno(rawValue: errno) }
        readEnd = FileDescriptor(rawValue: descriptors[0])
        writeEnd = FileDescriptor(rawValue: descriptors[1])
    }
}

/// Closes a descriptor that is still open. A pipe's end has nothing to lose by a failed close.
func close(_ descriptor: FileDescriptor?) {
    if let descriptor { _ = Glibc.close(descriptor.rawValue) }
}

/// Waits until `descriptor` is ready for `events`, or `isCancelled` says otherwise; looks twice a second.
func waitUntilReady(_ descriptor: FileDescriptor, _ events: Int32, isCancelled: () -> Bool) throws {
    var request = pollfd(fd: descriptor.rawValue, events: Int16(events), revents: 0)
    while true {
        if isCancelled() { throw CancellationError() }
        let ready = poll(&request, 1, 500)
        if ready > 0 { return }
        if ready < 0, errno != EINTR { throw Errno(rawValue: errno) }
    }
}
