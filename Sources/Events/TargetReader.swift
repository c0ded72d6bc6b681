import Core

/// Reads what a target has beside its source.
struct TargetReader {
    var values: ConfigurationValues
    let name: String
    /// From the file, where its own keys count before the defaults.
    let isOfFile: Bool
    /// What the stores are excused from, by the switch's name.
    var exceptions: Set<String> = []

    init(values: ConfigurationValues, name: String, isOfFile: Bool) {
        self.values = values
        self.name = name
        self.isOfFile = isOfFile
    }

    /// The first steps of keys that mean something to every target.
    private static let reservedSteps: Set<String> = Set(
        Tier.allCases.map(\.rawValue) + ["wal", "proofs", "audit", "locks", "records"])

    mutating func target(
        source: SourceSettings, keyPrefix: String, destinations: [String: DestinationSettings]
    ) throws(ConfigurationError) -> TargetSettings {
        let keys = try keys(of: source.name)
        let store = try store()
        let secondary = try secondary()
        try demandSecond(secondary, source.name)
        let keeping = try keeping(store, secondary)
        try refuseIdle(store, secondary)
        return TargetSettings(
            name: name, source: source, store: store, secondary: secondary, keeping: keeping,
            allowsHTTPStore: try flag(.allowHTTPStore), keyPrefix: keyPrefix, recipients: keys.recipients,
            optionalRecipients: keys.optional, identities: keys.identities,
            pkcs11: try pkcs11(keys), gpg: try gpg(keys), compression: try compression(of: source.name),
            parallelJobs: try number(.parallelJobs, in: 1...64) ?? defaulted(.parallelJobs, 2),
            retention: try retention(of: source),
            metricsDirectory: try metricsDirectory(), metricsPrefix: try metricsPrefix(),
            stallTimeout: try number(.stallTimeout, in: 1...604_800) ?? defaulted(.stallTimeout, 300),
            rateLimit: try number(.rateLimit, in: 1...(1 << 53)).map { Int64($0) },
            lockLease: try number(.lockLease, in: 1...3600) ?? defaulted(.lockLease, 60),
            signingKey: try signingKey(), trustedSigners: try trustedSigners(), destinations: destinations,
            recovery: try recovery(of: source, destinations), awsBackup: try awsBackup(),
            exceptions: source.exceptions + exceptions.sorted())
    }

    /// Keys are lost for good with the only place that they lie in.
    private func demandSecond(_ secondary: SecondarySettings?, _ engine: EngineName) throws(ConfigurationError) {
        guard engine == .keys, secondary == nil else { return }
        throw ConfigurationError(
            Setting.secondaryStore.variable, "it is missing, and backups of keys are always kept twice",
            hint: "name a second directory or bucket for \(name), best in another building or with another provider")
    }

    mutating func find(_ setting: Setting) throws(ConfigurationError) -> ConfigurationValues.Found? {
        try values.find(setting, target: isOfFile ? name : nil)
    }

    static func allowsUnverifiedTLS(
        _ values: inout ConfigurationValues, target: String?
    ) throws(ConfigurationError) -> Bool {
        guard let found = try values.find(.allowUnverifiedTLS, target: target) else { return false }
        return try ConfigurationReader.flag(found)
    }

    mutating func flag(_ setting: Setting) throws(ConfigurationError) -> Bool {
        guard let found = try find(setting) else { return false }
        return try ConfigurationReader.flag(found)
    }

    /// One word out of a list; `nil` where there is none.
    mutating func word<Word: RawRepresentable<String> & CaseIterable>(
        _ setting: Setting, of type: Word.Type, _ what: String
    ) throws(ConfigurationError) -> Word? {
        guard let found = try find(setting) else { return nil }
        guard let word = Word(rawValue: found.text) else {
            throw ConfigurationError(
                found.name, "no such \(what) is known", hint: "write \(choices(Word.allCases.map(\.rawValue)))")
        }
        return word
    }

    mutating func number(
        _ setting: Setting, in range: ClosedRange<Int>
    ) throws(ConfigurationError) -> Int? {
        guard let found = try find(setting) else { return nil }
        guard let value = Int(found.text), String(value) == found.text, range.contains(value) else {
            throw ConfigurationError(
                found.name, "it is not a whole number in its range",
                hint: "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    mutating func defaulted(_ setting: Setting, _ value: Int) -> Int {
        values.noteDefault(setting, String(value))
        return value
    }

    static func keyPrefix(_ found: ConfigurationValues.Found) throws(ConfigurationError) -> String {
        let steps = found.text.split(separator: "/", omittingEmptySubsequences: false)
        let isPlain = steps.allSatisfy { step in
            !step.isEmpty && step != "." && step != ".." && !reservedSteps.contains(String(step))
                && TargetName.isValid("a" + step.filter { $0 != "." }.prefix(60))
        }
        guard isPlain, found.text.utf8.count <= 255 else {
            throw ConfigurationError(
                found.name, "it is not a prefix for keys",
                hint: "letters, digits, '.', '-' and '_' with '/' between steps, none of them a tier's name")
        }
        return found.text
    }

    // MARK: Signatures

    private mutating func signingKey() throws(ConfigurationError) -> Secret? {
        guard let found = try find(.signingKey) else { return nil }
        guard found.text.hasPrefix("-----BEGIN PRIVATE KEY-----"),
            trimmed(found.text[...]).hasSuffix("-----END PRIVATE KEY-----")
        else {
            throw ConfigurationError(
                found.name, "it is not a private key in PEM",
                hint:
                    "make one with 'openssl genpkey -algorithm ed25519' and name its file in BACKUP_SIGNING_KEY_FILE")
        }
        return Secret(found.text)
    }

    private mutating func trustedSigners() throws(ConfigurationError) -> [String] {
        guard let found = try find(.trustedSigners) else { return [] }
        var signers: [String] = []
        for text in found.values {
            guard let key = bytes(hexText: text), key.count == 32 else {
                throw ConfigurationError(
                    found.name, "an Ed25519 public key in it is not 64 hexadecimal digits",
                    hint: "manifests name their signer in that form; several with commas between")
            }
            signers.append(hexText(key))
        }
        return signers
    }

    // MARK: Tuning and reports

    private mutating func compression(of engine: EngineName) throws(ConfigurationError) -> Compression {
        let found = try find(.compression)
        // Audit records are read for years, by tools of which every machine has gzip.
        let fallback: Compression.Algorithm = engine == .auditRecords ? .gzip : .zstd
        guard let algorithm = Compression.Algorithm(rawValue: found?.text ?? fallback.rawValue) else {
            throw ConfigurationError(
                found?.name ?? "", "no such compression is known",
                hint: "write \(choices(Compression.Algorithm.allCases.map(\.rawValue)))")
        }
        let (levels, usual): (ClosedRange<Int>, Int) =
            switch algorithm {
            case .zstd: (1...19, Compression.standard.level)
            case .gzip: (1...9, 6)
            case .none: (0...0, 0)
            }
        if found == nil { values.noteDefault(.compression, algorithm.rawValue) }
        guard let level = try find(.compressionLevel) else {
            return Compression(algorithm: algorithm, level: defaulted(.compressionLevel, usual))
        }
        guard let number = Int(level.text), String(number) == level.text, levels.contains(number) else {
            throw ConfigurationError(
                level.name,
                algorithm == .none
                    ? "without compression there is no level" : "it is no level of \(algorithm.rawValue)",
                hint: levels.count == 1
                    ? "leave it out" : "a whole number from \(levels.lowerBound) to \(levels.upperBound)")
        }
        return Compression(algorithm: algorithm, level: number)
    }

    private mutating func metricsDirectory() throws(ConfigurationError) -> String? {
        guard let found = try find(.metricsDirectory) else { return nil }
        guard found.text.hasPrefix("/"), !hasControlCharacter(found.text) else {
            throw ConfigurationError(found.name, "it is not an absolute path", hint: "a directory, like /var/metrics")
        }
        return found.text
    }

    private mutating func metricsPrefix() throws(ConfigurationError) -> String {
        guard let found = try find(.metricsPrefix) else {
            values.noteDefault(.metricsPrefix, "lifeboat")
            return "lifeboat"
        }
        let bytes = Array(found.text.utf8)
        let isName = bytes.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) || byte == UInt8(ascii: "_")
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }
        guard isName, let first = bytes.first, first > UInt8(ascii: "9"), bytes.count <= 64 else {
            throw ConfigurationError(
                found.name, "no metric's name may begin like this",
                hint: "up to 64 letters, digits and '_', the first not a digit")
        }
        return found.text
    }
}
