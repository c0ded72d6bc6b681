import Core
import Glibc
import TestSupport
import Testing

/// A tree of files.
struct FilesTestSource: TestSource {
    /// The directory that the tree lies in, with nothing else.
    let home: String

    var tree: String { home + "/clinic" }

    static func make(_ size: EngineSite.Size, in directory: String) throws -> FilesTestSource {
        let source = FilesTestSource(home: directory + "/home")
        for path in ["", "/clinic", "/clinic/forms", "/clinic/scans", "/clinic/none"] {
            mkdir(source.home + path, 0o755)
        }
        var random = SeededRandom(seed: 7)
        for number in 0..<40 {
            try writeFile(source.tree + "/forms/form \(number).txt", randomBytes(200 + number, &random))
        }
        for number in 0..<(size == .large ? 8 : 1) {
            try writeFile(
                source.tree + "/scans/\(number).tif", randomBytes(size == .large ? 1 << 20 : 50_000, &random))
        }
        symlink("../forms/form 1.txt", source.tree + "/scans/link")
        link(source.tree + "/forms/form 2.txt", source.tree + "/scans/same")
        chmod(source.tree + "/forms", 0o750)
        return source
    }

    var environment: [String: String] { ["FILES_PATHS": tree] }

    func spoil(_ number: Int) async throws {
        try writeFile(tree + "/forms/form 1.txt", "spoilt \(number)")
        unlink(tree + "/scans/link")
    }

    func fingerprint() async throws -> String { try await fingerprintOfTree(tree) }

    func leftovers() async throws -> [String] { try await replacedTrees(in: home) }

    func failing(_ failure: SourceFailure, in directory: String) throws -> [String: String]? {
        switch failure {
        case .down: return ["FILES_PATHS": directory + "/not-mounted"]
        case .empty:
            mkdir(directory + "/empty", 0o755)
            return ["FILES_PATHS": directory + "/empty"]
        // The tests run as root where they can, and root is let in everywhere; no program is needed.
        case .refused, .toolMissing: return nil
        }
    }
}

/// A directory of encryption keys, with its second store.
struct KeysTestSource: TestSource {
    let home: String
    let second: String

    private var keys: String { home + "/keys" }

    static func make(_ size: EngineSite.Size, in directory: String) throws -> KeysTestSource {
        let source = KeysTestSource(home: directory + "/home", second: directory + "/second")
        for path in [source.home, source.keys, source.second] { mkdir(path, 0o700) }
        var random = SeededRandom(seed: 11)
        for number in 0..<(size == .large ? 60 : 3) {
            try writeFile(source.keys + "/data-\(number).key", hexText(randomBytes(32, &random)) + "\n")
        }
        try writeFile(
            source.keys + "/data-0.json",
            #"{"keyId":"data-0","version":1,"createdAt":"2025-01-01T00:00:00Z","algorithm":"AES-256","kind":"DATA"}"#)
        return source
    }

    var environment: [String: String] {
        ["KEYS_PATHS": keys, "BACKUP_SECONDARY_STORE": "file://\(second)"]
    }

    func spoil(_ number: Int) async throws {
        var random = SeededRandom(seed: UInt64(1000 + number))
        try writeFile(keys + "/data-1.key", hexText(randomBytes(32, &random)) + "\n")
    }

    /// Times of keys are kept to the second, and compared to the minute, which has no fraction.
    func fingerprint() async throws -> String { try await fingerprintOfTree(keys, time: "%TY-%Tm-%TdT%TH:%TM") }

    func leftovers() async throws -> [String] { try await replacedTrees(in: home) }

    func failing(_ failure: SourceFailure, in directory: String) throws -> [String: String]? {
        switch failure {
        case .down: return ["KEYS_PATHS": directory + "/not-mounted"]
        case .empty:
            mkdir(directory + "/empty", 0o700)
            return ["KEYS_PATHS": directory + "/empty"]
        case .refused, .toolMissing: return nil
        }
    }
}

/// A file of audit records.
struct AuditTestSource: TestSource {
    let home: String

    private var trail: String { home + "/audit.jsonl" }

    static func make(_ size: EngineSite.Size, in directory: String) throws -> AuditTestSource {
        let source = AuditTestSource(home: directory + "/home")
        mkdir(source.home, 0o755)
        var random = SeededRandom(seed: 13)
        let lines = (1...(size == .large ? 20_000 : 50)).map { id in
            #"{"id":\#(id),"what":"\#(hexText(randomBytes(100, &random)))"}"#
        }
        try writeFile(source.trail, lines.joined(separator: "\n") + "\n")
        return source
    }

    var environment: [String: String] { ["AUDIT_SOURCE": trail, "AUDIT_BATCH_MINUTES": "0"] }

    func spoil(_ number: Int) async throws {
        let text = String(decoding: try contentsOfFile(trail), as: UTF8.self)
        let next = text.split(separator: "\n").count + 1
        try writeFile(trail, text + #"{"id":\#(next),"what":"spoilt \#(number)"}"# + "\n")
    }

    func fingerprint() async throws -> String { hexText(try contentsOfFile(trail)) }

    func leftovers() async throws -> [String] { [] }

    func failing(_ failure: SourceFailure, in directory: String) throws -> [String: String]? {
        switch failure {
        case .down: ["AUDIT_SOURCE": directory + "/not-mounted/audit.jsonl"]
        // Nothing new is no failure of a trail.
        case .empty, .refused, .toolMissing: nil
        }
    }
}

private func randomBytes(_ count: Int, _ random: inout SeededRandom) -> [UInt8] {
    (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
}

/// Path, kind, mode, owner, time and link of everything below `directory`, and the digest of every file.
private func fingerprintOfTree(_ directory: String, time: String = "%T@") async throws -> String {
    try await runProgram(
        "/bin/sh",
        [
            "-c",
            #"cd "$1" && find . -printf "%p %y %m %U %G $2 %l\n" | sort && find . -type f -exec sha256sum {} + | sort"#,
            "sh", directory, time,
        ])
}

/// The trees that restores have put aside in `directory`, or staged there: each in a directory of its own, which stays
/// with its mark a while after the tree has gone.
private func replacedTrees(in directory: String) async throws -> [String] {
    try await runProgram(
        "/usr/bin/find", [directory, "-mindepth", "2", "-maxdepth", "2", "-path", "*/.*.lifeboat-*/*", "-type", "d"]
    ).split(separator: "\n").map(String.init)
}
