// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
]

let log: Target.Dependency = .product(name: "Logging", package: "swift-log")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")

func library(_ name: String, path: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/\(path)", swiftSettings: settings)
}

func tests(
    _ name: String, _ dependencies: [Target.Dependency], exclude: [String] = [], resources: [Resource] = []
) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, path: "Tests/\(name)", exclude: exclude, resources: resources,
        swiftSettings: settings)
}

let package = Package(
    name: "lifeboat",
    products: [.executable(name: "lifeboat", targets: ["lifeboat"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["YAML"]),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2", traits: []),
    ],
    targets: [
        // The C that Swift cannot reach by itself.
        .systemLibrary(
            name: "CLibpq", path: "Sources/CLibpq", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(
            name: "CZstd", path: "Sources/CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(
            name: "CZlib", path: "Sources/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(
            name: "CMariaDB", path: "Sources/CMariaDB", pkgConfig: "libmariadb",
            providers: [.apt(["libmariadb-dev"])]),
        .systemLibrary(
            name: "CMongoC", path: "Sources/CMongoC", pkgConfig: "libmongoc-1.0",
            providers: [.apt(["libmongoc-dev"])]),
        // The header alone: the device's own module is loaded at run time.
        .systemLibrary(name: "CPKCS11", path: "Sources/CPKCS11", providers: [.apt(["libp11-kit-dev"])]),
        .target(name: "CLinux", path: "Sources/CLinux"),
        // SHA-256 of very many short rows, two at a time.
        .target(name: "CSHA256", path: "Sources/CSHA256"),
        // How far a run of plain bytes goes.
        .target(name: "CScan", path: "Sources/CScan"),
        // CRC-32C by the processor's own instruction.
        .target(name: "CCRC32C", path: "Sources/CCRC32C"),

        library("Core", path: "Core", ["CLinux", log]),
        library(
            "Events", path: "Events",
            [
                "Core", .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Yams", package: "Yams"),
            ]),
        library(
            "Streams", path: "Streams",
            [
                "Core", "CLinux", "CZstd", "CZlib", crypto,
                .product(name: "CryptoExtras", package: "swift-crypto"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ]),
        library("Envelope", path: "Envelope", ["Core", crypto]),
        library("Sets", path: "Sets", ["Core", "Streams", "Envelope", crypto]),
        // The write-ahead log of a PostgreSQL server as it is stored.
        library("WALArchive", path: "WALArchive", ["Core", "Streams", "Envelope", "Sets", crypto]),
        library("Operations", path: "Operations", ["Core", "Sets", "WALArchive", log]),
        library(
            "PostgresEngine", path: "Engines/Postgres",
            ["Core", "Streams", "CCRC32C", "CLibpq", "CLinux", "CSHA256", crypto]),
        library(
            "MySQLEngine", path: "Engines/MySQL",
            ["Core", "Streams", "CMariaDB", "CLinux", "CSHA256", "CScan", crypto]),
        library(
            "MongoDBEngine", path: "Engines/MongoDB", ["Core", "Streams", "CMongoC", "CLinux", "CSHA256", crypto]),
        library("FilesEngine", path: "Engines/Files", ["Core", "Streams", "CLinux", "CSHA256", crypto]),
        library(
            "KeysEngine", path: "Engines/Keys",
            [
                "Core", "Streams", "FilesEngine", "CLinux", crypto,
                .product(name: "CryptoExtras", package: "swift-crypto"),
            ]
        ),
        library("AuditRecordsEngine", path: "Engines/AuditRecords", ["Core", "Streams", "FilesEngine", crypto]),
        library("LocalKeyring", path: "Keyrings/Local", ["Core", crypto]),
        library(
            "RSAKeyring", path: "Keyrings/RSA",
            ["Core", "LocalKeyring", crypto, .product(name: "CryptoExtras", package: "swift-crypto")]),
        library("AWSKMSKeyring", path: "Keyrings/AWSKMS", ["Core", "AWS"]),
        library("PKCS11Keyring", path: "Keyrings/PKCS11", ["Core", "CPKCS11", "CLinux", crypto]),
        library("OpenPGPKeyring", path: "Keyrings/OpenPGP", ["Core", "Streams", "CLinux", crypto]),
        library("FileSystemStore", path: "Stores/FileSystem", ["Core", "CLinux"]),
        library(
            "S3Store", path: "Stores/S3",
            ["Core", "Streams", "AWS", "CCRC32C", crypto, log]),
        library(
            "AWS", path: "AWS",
            [
                "Core", log, crypto, .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"), .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOFoundationCompat", package: "swift-nio"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ]),
        library("MetricsReporter", path: "Reporting/Metrics", ["Core", "CLinux"]),
        library("ProgressReporter", path: "Reporting/Progress", ["Core", log]),
        .executableTarget(
            name: "lifeboat",
            dependencies: [
                "Core", "Events", "Streams", "Envelope", "Sets", "Operations", "PostgresEngine", "MySQLEngine",
                "MongoDBEngine", "FilesEngine", "KeysEngine", "AuditRecordsEngine", "LocalKeyring", "RSAKeyring",
                "AWSKMSKeyring", "PKCS11Keyring", "OpenPGPKeyring", "FileSystemStore", "S3Store", "AWS",
                "MetricsReporter",
                "ProgressReporter", "CLinux", log, crypto,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Sources/lifeboat", swiftSettings: settings),

        // The byte path between a file and a bucket, for Benchmarks/run.
        .executableTarget(
            name: "store-benchmark",
            dependencies: ["CLinux", "Core", "Streams", "Sets", "LocalKeyring", "S3Store", "AWS", log, crypto],
            path: "Benchmarks/Store", swiftSettings: settings),

        library(
            "TestSupport", path: "TestSupport",
            [
                "Core", "Streams", "Envelope", "Sets", "LocalKeyring", "AWS", "S3Store", "CLibpq", "CMariaDB",
                "CMongoC",
                crypto, log,
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ]),
        tests("CoreTests", ["Core", "TestSupport"]),
        tests("EventsTests", ["Core", "Events", "TestSupport"]),
        tests("StreamsTests", ["Core", "Streams", "TestSupport"]),
        tests(
            "EnvelopeTests", ["Core", "Envelope", "LocalKeyring", "RSAKeyring", "TestSupport", crypto],
            exclude: ["Fixtures", "Python"]),
        tests("StoreTests", ["Core", "FileSystemStore", "TestSupport", crypto]),
        tests("AWSTests", ["Core", "AWS", "TestSupport", crypto, log]),
        tests("S3StoreTests", ["Core", "AWS", "S3Store", "CCRC32C", "Streams", "TestSupport", crypto, log]),
        tests(
            "AWSKMSTests", ["Core", "AWS", "AWSKMSKeyring", "LocalKeyring", "Envelope", "TestSupport", log]),
        tests(
            "OperationsTests",
            [
                "Core", "Sets", "Streams", "Operations", "WALArchive", "Envelope", "LocalKeyring", "RSAKeyring",
                "AWSKMSKeyring", "AWS", "FileSystemStore", "TestSupport", crypto, log,
            ]),
        tests(
            "SetsTests",
            ["Core", "Sets", "Envelope", "Streams", "LocalKeyring", "RSAKeyring", "TestSupport", crypto]),
        tests(
            "PostgresEngineTests",
            ["Core", "PostgresEngine", "Streams", "CCRC32C", "CLinux", "CSHA256", "TestSupport", crypto]),
        tests("MySQLEngineTests", ["Core", "MySQLEngine", "Streams", "CScan", "TestSupport", crypto]),
        tests(
            "MongoDBEngineTests", ["Core", "MongoDBEngine", "Streams", "TestSupport", crypto], exclude: ["StandIn"]),
        tests("FilesEngineTests", ["Core", "FilesEngine", "Streams", "TestSupport", crypto]),
        tests(
            "KeysEngineTests",
            [
                "Core", "KeysEngine", "FilesEngine", "LocalKeyring", "RSAKeyring", "Streams", "TestSupport", crypto,
                .product(name: "CryptoExtras", package: "swift-crypto"),
            ]),
        tests(
            "AuditRecordsTests",
            [
                "Core", "AuditRecordsEngine", "FilesEngine", "PostgresEngine", "MySQLEngine", "MongoDBEngine",
                "Streams", "TestSupport", crypto,
            ]),
        tests(
            "PKCS11Tests",
            ["Core", "PKCS11Keyring", "Envelope", "LocalKeyring", "RSAKeyring", "TestSupport", crypto],
            exclude: ["Module", "Python"]),
        tests(
            "OpenPGPTests",
            ["Core", "OpenPGPKeyring", "LocalKeyring", "Sets", "Envelope", "Streams", "TestSupport", crypto]),
        tests(
            "PolicyTests",
            ["Core", "Sets", "Operations", "WALArchive", "LocalKeyring", "Streams", "TestSupport", crypto, log]),
        tests(
            "WALArchiveTests",
            [
                "Core", "WALArchive", "Operations", "PostgresEngine", "Sets", "Streams", "Envelope", "LocalKeyring",
                "FileSystemStore", "TestSupport", crypto, log,
            ]),
        tests("ReportingTests", ["Core", "MetricsReporter", "ProgressReporter", "TestSupport", log]),
        // The binary as its users meet it: events in, exit codes, files and databases out.
        tests("LifeboatTests", ["Core", "AWS", "Events", "S3Store", "TestSupport", crypto, log, "lifeboat"]),
    ]
)
