import Core

/// What stands beside a staged or replaced tree, in `marker.json`: whose it is and what may be done with it.
///
/// It tells a staged tree from a replaced one by the staged tree's identity, which the exchange does not change: at any
/// instant, whatever killed us, the file system itself says which of the two stands where.
struct ExchangeMarker: Equatable, Sendable {
    /// Where the tree belongs.
    var location: String
    var requestID: String
    var setKey: String
    /// `nil` until the tree has been made.
    var staged: FileIdentity?
    /// The verified set that holds what is replaced.
    var safetyKey: BackupKey?
    /// When the exchange was made; `nil` before it.
    var time: Timestamp?

    /// Bytes: a path of the greatest length, escaped, and the rest.
    static let largest = 64 << 10

    var json: JSON {
        .object(present: [
            "format": .integer(1), "location": .string(location), "request": .string(requestID),
            "set": .string(setKey),
            "staged": staged.map {
                .object([
                    "device": .string(String($0.device)), "inode": .string(String($0.inode)),
                    "born": .string(String($0.born)),
                ])
            },
            "safety": safetyKey.map { .string($0.description) }, "time": time.map { .string($0.description) },
        ])
    }

    init(location: String, requestID: String, setKey: String) {
        self.location = location
        self.requestID = requestID
        self.setKey = setKey
    }

    /// `nil` for bytes that are not exactly such a marker.
    init?(parsing bytes: [UInt8]) {
        do {
            var fields = try JSONFields(JSON(parsing: bytes), path: "")
            guard try fields.integer("format") == 1 else { return nil }
            location = try fields.string("location")
            requestID = try fields.string("request")
            setKey = try fields.string("set")
            if let identity = fields.optional("staged") {
                var parts = try JSONFields(identity, path: "staged")
                guard let device = UInt64(try parts.string("device")), let inode = UInt64(try parts.string("inode")),
                    let born = Int64(try parts.string("born"))
                else { return nil }
                try parts.finish()
                staged = FileIdentity(device: device, inode: inode, born: born)
            }
            safetyKey = try fields.optionalString("safety").flatMap { BackupKey($0) }
            time = try fields.optionalString("time").flatMap { Timestamp($0) }
            try fields.finish()
        } catch {
            return nil
        }
    }
}
