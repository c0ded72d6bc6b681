/// Files with several names of which one has been met. Of so many at most: what is beyond is taken for files of one
/// name each.
struct HardLinks {
    enum Role: Equatable {
        /// The first name that is met, of a file that is remembered.
        case first
        /// A further name of the file that was met as this.
        case further([UInt8])
        /// Of a file that there was no room to remember.
        case forgotten
    }

    private struct Known {
        var path: [UInt8]
        /// Names that may still come.
        var remaining: Int
    }

    private var known: [FileIdentity: Known] = [:]
    private let most: Int

    init(most: Int = TarFormat.mostLinkedFiles) { self.most = most }

    /// To be called for each name of a file that has `links` of them, more than one.
    mutating func meet(_ identity: FileIdentity, _ path: [UInt8], links: Int) -> Role {
        if var file = known[identity] {
            file.remaining -= 1
            known[identity] = file.remaining > 0 ? file : nil
            return .further(file.path)
        }
        guard known.count < most else { return .forgotten }
        known[identity] = Known(path: path, remaining: links - 1)
        return .first
    }
}
