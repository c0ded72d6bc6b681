import CLinux
import Core
import Glibc
import Streams
import TestSupport
import Testing

@testable import FilesEngine

/// Different for each call of a test run.
private let counter = Guarded(UInt32(0))

extension FilesSource {
    func engine(clock: ManualClock = ManualClock()) -> FileTrees {
        FileTrees(self, clock: clock) { count in
            let number = counter.withLock { next in
                next += 1
                return next
            }
            return (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * UInt32($0))) }
        }
    }
}

/// The trees at `paths` themselves.
func engine(_ paths: String..., excludes: [String] = []) throws -> FileTrees {
    try FilesSource(paths: paths, excludes: excludes).engine()
}

/// The trees at `paths`, restored under `base`.
func engine(_ paths: [String], under base: String) throws -> FileTrees {
    try FilesSource(paths: paths, base: base).engine()
}

extension TakenSet {
    var archive: [UInt8] {
        get { parts["files.tar"] ?? [] }
        set { parts["files.tar"] = newValue }
    }

    var listing: String { self[text: "listing.jsonl"] }

    /// A request with a verified safety set for what earlier restores put aside.
    func request(_ id: String, saved: TakenSet) -> RestoreRequest {
        let contents = saved.contents
        return request(id, verified: { _ in contents })
    }
}

@discardableResult
func shell(_ script: String, _ arguments: String...) throws -> String {
    let (status, output) = try runProgram("/bin/sh", ["-ec", script, "sh"] + arguments)
    guard status == 0 else { throw TestFailure("\(script) ended with \(status): \(output)") }
    return output
}

/// A directory with one of everything that can be stored, whose attributes a stock tar keeps too.
func makeEverything(_ path: String) throws {
    try shell(
        #"""
        umask 022
        mkdir -p "$1/records/2025" "$1/empty" "$1/closed"
        cd "$1"
        printf 'name;born\n' > records/patients.csv
        head -c 700000 /dev/zero | tr '\0' x > records/2025/scan.bin
        : > records/none
        ln records/patients.csv records/2025/again.csv
        ln records/patients.csv third.csv
        ln -s ../records/patients.csv records/link
        ln -s /nowhere/at/all dangling
        mkfifo pipe
        printf 'x' > "a name with
        a line break and ünïcode"
        printf 'y' > "$(printf 'not utf-8 \377\376')"
        mkdir -p "$(printf 'd%.0s' $(seq 120))/$(printf 'e%.0s' $(seq 200))"
        printf 'deep' > "$(printf 'd%.0s' $(seq 120))/$(printf 'e%.0s' $(seq 200))/$(printf 'f%.0s' $(seq 255))"
        printf 'program' > run; chmod 4755 run
        printf 'secret' > closed/key; chmod 0400 closed/key
        chmod 2750 records; chmod 0500 closed
        truncate -s 40M holes; printf 'begin' | dd of=holes conv=notrunc status=none
        printf 'middle' | dd of=holes bs=1 seek=20000000 conv=notrunc status=none
        truncate -s 5M onlyhole
        touch -d '1969-12-31T23:59:58.250000000Z' before1970
        touch -d '2024-02-29T12:34:56.123456789Z' records/none
        touch -h -d '2020-01-01T00:00:00.5Z' dangling
        """#, path)
    if geteuid() == 0 { try shell(#"chown 1234:5678 "$1/records/none"; chown -h 99:99 "$1/dangling""#, path) }
}

/// ACLs and attributes, where the file system of the scratch directory has them.
func addAttributes(_ path: String) throws {
    try shell(
        #"""
        cd "$1"
        setfattr -n user.clinic -v north records/patients.csv
        setfattr -n user.odd%=name -v 0x00ff3d0a records
        setfacl -m u:1234:r-x,g:5678:--- records/2025/scan.bin
        setfacl -d -m u:4321:rwx records
        """#, path)
}

extension RealPart {
    /// Only root may mount, and not in every container.
    static var mounting: RealPart {
        var template = Array("/tmp/lifeboat-mount-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return RealPart("the right to mount", isPresent: false) }
        let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { rmdir(path) }
        let isMounted = mount("none", path, "tmpfs", 0, nil) == 0
        if isMounted { umount(path) }
        return RealPart("the right to mount", isPresent: isMounted)
    }
}

/// Gives `body` a file system of its own at `path`.
func withMount<Result>(_ path: String, _ body: () async throws -> Result) async throws -> Result {
    guard mount("none", path, "tmpfs", 0, nil) == 0 else { throw TestFailure("cannot mount: error \(errno)") }
    defer { umount2(path, Int32(MNT_DETACH)) }
    return try await body()
}

func exists(_ path: String) -> Bool {
    var found = stat()
    return lstat(path, &found) == 0
}

func text(_ path: String) throws -> String { String(decoding: try contentsOfFile(path), as: UTF8.self) }

/// The names in a directory.
func names(_ path: String) throws -> [String] {
    let names = try DirectoryNames(path: path)
    var all: [String] = []
    while let name = try names.next() { all.append(String(decoding: name, as: UTF8.self)) }
    return all
}

/// Expects a ``Failure`` with this exit code, and returns it.
@discardableResult
func failure(
    _ code: ExitCode, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async throws -> any Failure {
    do {
        try await body()
    } catch let failure as any Failure {
        #expect(failure.exitCode == code, "\(failure): \(failure.hint)", sourceLocation: sourceLocation)
        return failure
    }
    throw TestFailure("nothing failed")
}
