import Core
import FileSystemStore
import Glibc
import TestSupport
import Testing

/// The contract of the port, on every store there is.
@Suite struct StoreContractTests {
    @Test("a directory keeps the store's contract", arguments: storeContract)
    func directory(_ contract: StoreContractCase) async throws {
        try await withScratchDirectory { path in
            try await contract.run(try DirectoryStore(root: path, random: testRandom))
            // Whatever happened, nothing half written is left lying about.
            #expect(try entries(below: path).filter { $0.hasSuffix(".tmp") } == [])
        }
    }

    @Test("the store in memory keeps it", arguments: storeContract)
    func memory(_ contract: StoreContractCase) async throws { try await contract.run(MemoryStore()) }

    @Test("the store in memory keeps it with versions", arguments: storeContract)
    func versioned(_ contract: StoreContractCase) async throws {
        try await contract.run(MemoryStore(isVersioned: true))
    }

    /// A plain deletion leaves what was there, the other nothing, also where it was hidden before.
    @Test func versions() async throws {
        let store = MemoryStore(isVersioned: true)
        for key in ["a", "b", "c"] { try await store.put(key, [1]) }
        try await store.delete("a")
        try await store.delete("b", allVersions: true)
        #expect(store.keys == ["c"] && store.keysOfVersions == ["a", "c"])
        try await store.delete("a", allVersions: true)
        #expect(store.keysOfVersions == ["c"])
    }

    @Test("the faulty store without faults keeps it", arguments: storeContract)
    func faulty(_ contract: StoreContractCase) async throws { try await contract.run(FaultyStore(MemoryStore())) }
}

/// Random enough for names.
let testRandom: RandomBytes = { count in (0..<count).map { _ in UInt8.random(in: 0...255) } }

/// The paths of everything below `path`, relative to it, in no order.
func entries(below path: String) throws -> [String] {
    guard let directory = opendir(path) else { return [] }
    defer { closedir(directory) }
    var found: [String] = []
    while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        if name == "." || name == ".." { continue }
        found.append(name)
        if entry.pointee.d_type == DT_DIR { found += try entries(below: "\(path)/\(name)").map { "\(name)/\($0)" } }
    }
    return found
}
