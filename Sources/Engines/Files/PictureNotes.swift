import Core

/// What a picture of files has to say of itself: what changed while it was read, and what no archive holds.
final class PictureNotes: Sendable {
    enum Kind: String, CaseIterable, Sendable {
        case changed, vanished, socket, device, otherFileSystem, kernelFileSystem, attribute, linkedFile

        /// `3 files changed …`, for the manifest, which is in clear and so names nothing.
        func exception(_ count: Int) -> String {
            switch self {
            case .changed: counted(count, "file changed while it was read", "files changed while they were read")
            case .vanished:
                counted(
                    count, "file was removed before it could be read", "files were removed before they could be read")
            case .socket: counted(count, "socket is", "sockets are") + " not in the set"
            case .device: counted(count, "device is", "devices are") + " not in the set"
            case .otherFileSystem:
                "the content of "
                    + counted(count, "directory on another file system", "directories on other file systems")
                    + " is not in the set"
            case .kernelFileSystem:
                counted(count, "file system of the kernel is", "file systems of the kernel are") + " not in the set"
            case .attribute: "attributes of \(counted(count, "file")) are not in the set: their kind is not stored"
            case .linkedFile:
                counted(count, "file with several names is", "files with several names are")
                    + " in the set once for each name"
            }
        }

        fileprivate var words: String {
            switch self {
            case .changed: "changed while it was read"
            case .vanished: "was removed before it could be read"
            case .socket: "is a socket and not in the set"
            case .device: "is a device and not in the set"
            case .otherFileSystem: "is on another file system, whose content is not in the set"
            case .kernelFileSystem: "is a file system of the kernel and not in the set"
            case .attribute: "has attributes of a kind that is not stored"
            case .linkedFile: "has several names, and is stored with each"
            }
        }

        /// Worth naming in the result; the others are as expected.
        fileprivate var isNews: Bool { self != .socket && self != .kernelFileSystem && self != .linkedFile }
    }

    /// Paths that are named in a set's listing, of each kind.
    private static let mostListed = 1000
    /// Paths that are named in a result, of each kind.
    private static let mostShown = 20

    private struct Found {
        var count = 0
        var paths: [[UInt8]] = []
    }

    private let found = Guarded<[Kind: Found]>([:])

    func add(_ kind: Kind, _ path: [UInt8]) {
        found.withLock {
            $0[kind, default: Found()].count += 1
            if $0[kind, default: Found()].paths.count < Self.mostListed { $0[kind]?.paths.append(path) }
        }
    }

    /// For the manifest.
    var exceptions: [String] {
        let found = found.value
        return Kind.allCases.compactMap { kind in found[kind].map { kind.exception($0.count) } }
    }

    /// For the result: with names.
    var shownNotes: [String] {
        let found = found.value
        return Kind.allCases.filter(\.isNews).flatMap { kind -> [String] in
            guard let all = found[kind] else { return [] }
            let named = all.paths.prefix(Self.mostShown).map { "\(shown($0)) \(kind.words)" }
            let rest = all.count - named.count
            return named + (rest > 0 ? ["\(rest) more: \(kind.words)"] : [])
        }
    }

    /// For the set's listing.
    var lines: [[UInt8]] {
        let found = found.value
        return Kind.allCases.flatMap { kind in
            (found[kind]?.paths ?? []).map { path in
                let member =
                    String(validating: path, as: UTF8.self).map { ("path", $0) } ?? ("pathHex", hexText(path))
                return JSON.object(["note": .string(kind.rawValue), member.0: .string(member.1)]).canonicalBytes
            }
        }
    }
}
