import Core
import Crypto
import FileSystemStore
import Glibc
import LocalKeyring
import Operations
import Sets
import TestSupport
import Testing

/// Sets written out for the recipients of today, into a directory that comes to be whole or not at all.
@Suite("Exporting a set")
struct ExportTests {
    /// A clinic with a set of several segments under an old key, and a place to export to.
    private struct Site {
        var clinic: Clinic
        let rotation: Rotation
        let key: BackupKey
        let text: [UInt8]
        let old: Rotation.Keys
        let new: Rotation.Keys
        var place: String { "\(rotation.directory)/exports/clinic" }

        func export(
            _ key: KeySelector? = nil, requestID: RequestID = .random("e"), store: StoreChoice = .primary,
            to path: String? = nil, dryRun: Bool = false
        ) async throws -> JobResult {
            let directory = try NewDirectory(path: path ?? place, random: clinic.workplace.random)
            return try await Export(
                ExportJob(
                    target: "clinic", key: key ?? .exact(self.key), requestID: requestID, store: store,
                    directory: path ?? place, dryRun: dryRun), into: directory, at: clinic.workplace
            ).run()
        }

        /// Everything beside and below the place.
        var files: [String] { names(in: "\(rotation.directory)/exports") + names(in: place) }

        private func names(in directory: String) -> [String] {
            guard let stream = opendir(directory) else { return [] }
            defer { closedir(stream) }
            var names: [String] = []
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                    String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { names.append(name) }
            }
            return names.sorted()
        }
    }

    private static func withSite<Result>(
        _ text: [UInt8] = patternBytes(3_000_000), compression: Compression.Algorithm = .zstd,
        kinds: (old: String, new: String) = ("aes", "aes"), _ body: (Site) async throws -> Result
    ) async throws -> Result {
        try await Rotation.with { rotation in
            mkdir("\(rotation.directory)/exports", 0o700)
            var clinic = rotation.clinic
            let (old, new) = (try rotation.keys(kinds.old, "old"), try rotation.keys(kinds.new, "new"))
            clinic.engine.text = text
            clinic.use(recipients: old.recipients, identities: old.identities)
            clinic.workplace.writer.compression = Compression(
                algorithm: compression, level: compression == .none ? 0 : 1)
            let key = try #require(try await clinic.backup().backupKey)
            clinic.use(recipients: new.recipients, identities: old.identities)
            return try await body(
                Site(clinic: clinic, rotation: rotation, key: key, text: text, old: old, new: new))
        }
    }

    /// Shows that an export holds every part under a new data key, which the new recipients open and the old ones do
    /// not, that its sums hold, and that nothing of it is in clear or readable by others.
    @Test func whole() async throws {
        try await Self.withSite(Array("a marker that shows nowhere\n".utf8)) { site in
            var site = site
            site.clinic.workplace.writer.signer = Curve25519.Signing.PrivateKey()
            let result = try await site.export()
            #expect(result.exitCode == .done && result.verdict == .proven && result.proofDepth == .integrity)
            #expect(result.backupKey == site.key)
            let files = [
                "README.txt", "SHA256SUMS", "contents.json.zst.encrypted", "export.json", "open_set.py",
                "text.zst.encrypted",
            ]
            #expect(result.details["files"] == .array(files.map { .string($0) }))
            #expect(site.files == ["clinic"] + files)
            for file in files {
                var status = stat()
                #expect(stat("\(site.place)/\(file)", &status) == 0)
                #expect(status.st_mode & 0o777 == 0o600)
                let bytes = try contentsOfFile("\(site.place)/\(file)")
                #expect(!String(decoding: bytes, as: UTF8.self).contains("a marker that shows nowhere"))
            }
            let check = try runProgram(
                "/bin/sh", ["-c", "cd \"$1\" && sha256sum -c --quiet --strict SHA256SUMS", "sh", site.place])
            #expect(check.status == 0, "\(check.output)")
            let readMe = String(decoding: try contentsOfFile("\(site.place)/README.txt"), as: UTF8.self)
            #expect(readMe.contains("lifeboat/new") && !readMe.contains("lifeboat/old"))
            #expect(readMe.contains("python3 open_set.py . text KEY | zstd -d > text\n"))
            let index = String(decoding: try contentsOfFile("\(site.place)/export.json"), as: UTF8.self)
            #expect(index.contains(#""signature":{"algorithm":"Ed25519""#))

            let store = try DirectoryStore(root: site.place, random: site.clinic.workplace.random)
            for (keys, opens) in [(site.new, true), (site.old, false)] {
                let opened = StoredFile(name: "opened", store: MemoryStore())
                do {
                    _ = try await FileEnvelope.decrypt(
                        StoredFile(name: "text.zst.encrypted", store: store), as: opened, with: keys.identities)
                    #expect(opens)
                } catch let failure as any Failure {
                    #expect(!opens && failure.exitCode == .keys)
                }
            }
        }
    }

    /// Shows that the program inside the export opens it, by the README's own lines, with a key of each kind and every
    /// compression; that another key is refused; and that a byte changed in a file or in export.json is too.
    @Test(
        .needs(.encryptionSDK), .needs(.program("zstd")),
        arguments: [("aes", Compression.Algorithm.zstd), ("rsa", .gzip), ("aes", .none)])
    func stockTools(kind: String, compression: Compression.Algorithm) async throws {
        try await Self.withSite(compression: compression, kinds: (kind == "aes" ? "rsa" : "aes", kind)) { site in
            _ = try await site.export()
            let number = kind == "aes" ? "2-aes/new.key" : "2-rsa/new.pem"
            let key = "\(kind):\(site.rotation.directory)/\(number)"
            let readMe = String(decoding: try contentsOfFile("\(site.place)/README.txt"), as: UTF8.self)
            let lines = readMe.split(separator: "\n").map { $0.drop { $0 == " " } }
            let command = try #require(lines.first { $0.hasPrefix("python3 open_set.py . text KEY") })
            for sdk in try PythonEnvironment.all() {
                let script = "set -eo pipefail; cd \"$1\"; \(command)"
                    .replacing("python3 ", with: "\"$2\" ").replacing("KEY", with: "\"$3\"")
                    .replacing("> text", with: "> \"$4\"")
                let opened = "\(site.rotation.directory)/opened"
                let run = { (key: String) in
                    try runProgram("/bin/bash", ["-c", script, "bash", site.place, sdk, key, opened])
                }
                let done = try run(key)
                #expect(done.status == 0, "\(done.output)")
                #expect(try contentsOfFile(opened) == site.text)
                let other =
                    kind == "aes"
                    ? "rsa:\(site.rotation.directory)/1-rsa/old.pem" : "aes:\(site.rotation.directory)/1-aes/old.key"
                #expect(try run(other).status != 0)
            }
            let index = "\(site.place)/export.json"
            let sound = try contentsOfFile(index)
            try writeFile(
                index,
                String(decoding: sound, as: UTF8.self).replacing(#""target":"clinic""#, with: #""target":"clinik""#))
            let changed = try runProgram(
                try #require(try PythonEnvironment.all().first),
                ["\(site.place)/open_set.py", site.place, "text", key])
            #expect(changed.status != 0)
        }
    }

    /// Shows that the program which an export carries is the documented one.
    @Test func script() async throws {
        try await Self.withSite { site in
            _ = try await site.export()
            #expect(
                try contentsOfFile("\(site.place)/open_set.py")
                    == contentsOfFile(repositoryRoot + "/docs/open_set.py"))
        }
    }

    /// Shows that the documented program opens a set by its rewrap records, without being told; that one which a
    /// stranger put there does not mislead it; and that it opens with the old key as before.
    @Test(.needs(.encryptionSDK), .needs(.program("zstd")))
    func rewrappedSet() async throws {
        try await Rotation.with { rotation in
            let (old, new) = (try rotation.keys("aes", "old"), try rotation.keys("rsa", "new"))
            var clinic = rotation.clinic
            let root = "\(rotation.directory)/store"
            mkdir(root, 0o700)
            clinic.workplace.store = try DirectoryStore(root: root, random: clinic.workplace.random)
            clinic.workplace.secondary = nil
            clinic.workplace.writer.compression = Compression(algorithm: .zstd, level: 1)
            clinic.use(recipients: old.recipients, identities: old.identities)
            let key = try #require(try await clinic.backup().backupKey)
            clinic.use(recipients: new.recipients, identities: old.identities)
            _ = try await clinic.rewrap()
            let catalog = Catalog(clinic.workplace.store)
            let stored = try await catalog.manifest(key)
            var bytes = [UInt8](repeating: 3, count: 32)
            let stranger = SecretBytes(wiping: &bytes)
            let forged = try RewrapRecord(
                try await new.recipients[0].wrapped(stranger, stored.manifest.encryption.context), of: stored,
                dataKey: stranger, signer: nil, time: clinic.clock.now(), requestID: .run("r"))
            try await clinic.workplace.store.put("\(key)/records/000002-rewrap.json", forged.bytes)
            for sdk in try PythonEnvironment.all() {
                for name in ["rsa:\(rotation.directory)/2-rsa/new.pem", "aes:\(rotation.directory)/1-aes/old.key"] {
                    let opened = try runProgram(
                        "/bin/bash",
                        [
                            "-c", #"set -o pipefail; "$1" "$2" "$3" text "$4" | zstd -d"#, "bash", sdk,
                            repositoryRoot + "/docs/open_set.py", "\(root)/\(key)", name,
                        ])
                    #expect(opened.status == 0 && Array(opened.output.utf8) == clinic.engine.text, "\(opened.output)")
                }
            }
        }
    }

    /// Shows that a directory which is not empty, a file, a link, and a place without a parent are refused, that nothing
    /// of them is touched, and that an empty directory is taken.
    @Test func places() async throws {
        try await Self.withSite { site in
            let folder = "\(site.rotation.directory)/exports"
            mkdir("\(folder)/full", 0o755)
            try writeFile("\(folder)/full/mine", "mine")
            try writeFile("\(folder)/file", "mine")
            symlink("\(folder)/full", "\(folder)/link")
            let full = await #expect(throws: JobFailure.self) { try await site.export(to: "\(folder)/full") }
            #expect(full?.exitCode == .eventRefused && full?.cause.contains("not empty") == true)
            for path in ["\(folder)/file", "\(folder)/link", "\(folder)/none/clinic", "relative", "\(folder)/../x"] {
                let error = await #expect(throws: JobFailure.self) { try await site.export(to: path) }
                #expect(error?.exitCode == .eventRefused, "\(path)")
            }
            #expect(try contentsOfFile("\(folder)/full/mine") == Array("mine".utf8))
            mkdir("\(folder)/empty", 0o755)
            #expect(try await site.export(to: "\(folder)/empty/").exitCode == .done)
            #expect(site.files == ["empty", "file", "full", "link"])
        }
    }

    /// Shows that the same request finds what it exported, and that another is refused.
    @Test func replay() async throws {
        try await Self.withSite { site in
            #expect(try await site.export(requestID: .run("uid")).replayed == false)
            let again = try await site.export(requestID: .run("uid"))
            #expect(again.replayed && again.backupKey == site.key)
            for other in [RequestID.run("other"), .random("uid")] {
                await #expect(throws: JobFailure.self) { try await site.export(requestID: other) }
            }
        }
    }

    /// Shows that a dry run names recipients and room, and writes nothing.
    @Test func dryRun() async throws {
        try await Self.withSite { site in
            let result = try await site.export(dryRun: true)
            #expect(result.dryRun && result.verdict == .inconclusive)
            #expect(result.details["recipients"] == .array([.string("lifeboat/new")]))
            #expect(site.files.isEmpty)
            // It would meet what an export meets.
            var broken = site
            broken.clinic.use(recipients: [], identities: site.old.identities)
            let error = await #expect(throws: (any Error).self) { try await broken.export(dryRun: true) }
            #expect((error as? any Failure)?.exitCode == .configuration)
        }
    }

    /// Shows that a damaged set is exported from the second copy where that is sound, and otherwise not at all, with no
    /// file left.
    @Test func damaged() async throws {
        try await Self.withSite { site in
            let object = try #require(site.clinic.segments(site.clinic.firstMemory).first { $0.contains("/text") })
            site.clinic.firstMemory.damage(object) { $0[$0.count - 50] ^= 1 }
            let result = try await site.export()
            #expect(result.verdict == .proven)
            #expect(result.notes.contains { $0.contains("read from the second copy") })
            site.clinic.secondMemory.damage(object) { $0[$0.count / 2] ^= 1 }
            let error = await #expect(throws: (any Error).self) { try await site.export(to: site.place + "-2") }
            #expect((error as? any Failure)?.exitCode == .verificationFailed)
            #expect(!site.files.contains { $0.contains("clinic-2") })
        }
    }

    /// Shows that a store that fails in the middle, and an end from outside at any call, leave no directory.
    @Test func interrupted() async throws {
        try await Self.withSite { site in
            var alone = site
            alone.clinic.workplace.secondary = nil
            alone.clinic.first.fail(.get, keyContaining: "/text", with: .cut(afterBytes: 1_500_000))
            let error = await #expect(throws: (any Error).self) { try await alone.export() }
            #expect((error as? any Failure)?.exitCode == .store)
            #expect(site.files.isEmpty)
            for number in 1...6 {
                let running = Guarded<Task<JobResult, any Error>?>(nil)
                alone.clinic.first.fail(nil, nth: number, with: .interleave { running.value?.cancel() })
                let task = Task { [alone] in
                    while running.value == nil { await Task.yield() }
                    return try await alone.export()
                }
                running.withLock { $0 = task }
                let result = await task.result
                if case .success = result {
                    removeTree(site.place)
                } else {
                    #expect(site.files.isEmpty, "call \(number)")
                }
                alone.clinic.first.heal()
            }
        }
    }

    /// Shows that what a killed export left is removed by the next one to the same place, and that one which is still at
    /// it is not disturbed.
    @Test func afterAKill() async throws {
        try await Self.withSite { site in
            let left = "\(site.rotation.directory)/exports/.lifeboat-clinic.tmp"
            mkdir(left, 0o700)
            try writeFile("\(left)/text.zst.encrypted", "half")
            try writeFile("\(left)/.lifeboat-0011.tmp", "half")
            let other = try NewDirectory(path: site.place, random: site.clinic.workplace.random)
            _ = try await other.begin()
            let held = await #expect(throws: (any Error).self) { try await site.export() }
            #expect((held as? any Failure)?.exitCode == .locked)
            try await other.discard()
            mkdir(left, 0o700)
            try writeFile("\(left)/text.zst.encrypted", "half")
            #expect(try await site.export().exitCode == .done)
            #expect(!site.files.contains { $0.hasPrefix(".lifeboat") })
        }
    }

    /// Shows that too small a disk is named before anything is read, and one that fills up while it is written leaves
    /// nothing: both exit code 11.
    @Test func fullDisk() async throws {
        try await Self.withSite { site in
            for isKnown in [true, false] {
                let directory = SmallDirectory(free: isKnown ? 1000 : .max)
                let error = await #expect(throws: (any Error).self) {
                    try await Export(
                        ExportJob(
                            target: "clinic", key: .exact(site.key), requestID: .random("e"), directory: "/full"),
                        into: directory, at: site.clinic.workplace
                    ).run()
                }
                #expect((error as? any Failure)?.exitCode == .store)
                #expect(directory.calls.value == (isKnown ? [] : ["begin", "discard"]))
            }
        }
    }

    /// Shows that an archived set's thaw is asked for, and a set that is sealed for nobody here is exit code 12.
    @Test func archivedAndClosed() async throws {
        try await Self.withSite { site in
            let object = try #require(site.clinic.segments(site.clinic.firstMemory).first { $0.contains("/text") })
            for store in [site.clinic.firstMemory, site.clinic.secondMemory] { store.move(object, to: .glacier) }
            let archived = await #expect(throws: (any Error).self) { try await site.export() }
            #expect((archived as? any Failure)?.exitCode == .thawRequested)
            #expect(try await site.export(dryRun: true).details["thaw"] != nil)
            var closed = site
            closed.clinic.use(recipients: site.new.recipients, identities: site.new.identities)
            let error = await #expect(throws: (any Error).self) { try await closed.export() }
            #expect((error as? any Failure)?.exitCode == .keys)
            #expect(site.files.isEmpty)
        }
    }
}

/// A directory on a disk that is too small.
private final class SmallDirectory: StagedDirectory {
    let path = "/full"
    let calls = Guarded<[String]>([])
    private let free: Int64

    init(free: Int64) { self.free = free }

    func standing() async throws -> DirectoryStanding { .absent }
    func freeBytes() async throws -> Int64 { free }

    func begin() async throws -> any Store {
        calls.withLock { $0.append("begin") }
        let store = FaultyStore(MemoryStore(isBucket: false))
        store.fail(.put, keyContaining: "text", with: .cut(afterBytes: 1 << 20))
        return store
    }

    func publish() async throws { calls.withLock { $0.append("publish") } }
    func discard() async throws { calls.withLock { $0.append("discard") } }
}

/// The interpreters that `scripts/python-env` made with the AWS Encryption SDK.
enum PythonEnvironment {
    static func all() throws -> [String] {
        let paths = ["3.3.1", "4.0.7"].map {
            "\(repositoryRoot)/.cache/python/aws-encryption-sdk-\($0)/bin/python"
        }
        for path in paths where access(path, X_OK) != 0 {
            throw TestFailure("\(path) is missing; scripts/test makes it")
        }
        return paths
    }
}

extension RealPart {
    fileprivate static var encryptionSDK: RealPart {
        RealPart(
            "aws-encryption-sdk 3.3.1 and 4.0.7, made by scripts/python-env",
            isPresent: (try? PythonEnvironment.all()) != nil)
    }
}

extension KeyProvider {
    fileprivate func wrapped(_ dataKey: SecretBytes, _ context: [String: String]) async throws -> [EncryptedDataKey] {
        [try await wrap(dataKey, context: context)]
    }
}
