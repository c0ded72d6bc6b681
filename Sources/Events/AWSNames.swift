/// Which servers may be talked to without TLS.
package enum EndpointRule {
    /// Nobody can listen on the way: TLS, or a server on this machine. `host` may have a port.
    package static func isPrivate(scheme: String, host: String) -> Bool {
        if scheme == "https" { return true }
        if host.hasPrefix("[") { return AWSNames.isLoopback(String(host.dropFirst().prefix { $0 != "]" })) }
        return AWSNames.isLoopback(String(host.prefix { $0 != ":" }))
    }
}

/// The forms of names that AWS gives and takes. Each says what is wrong without repeating the value, which may have
/// been meant for another setting.
enum AWSNames {
    /// What is wrong with a name.
    struct Problem: Error {
        var cause: String
        var hint: String

        init(_ cause: String, hint: String) {
            self.cause = cause
            self.hint = hint
        }
    }

    // MARK: Buckets

    /// The rules for general purpose buckets (Amazon S3 User Guide, "General purpose bucket naming rules").
    static func checkBucket(_ name: String) throws(Problem) {
        let hint = "a bucket's name has 3 to 63 small letters, digits, '-' and '.', letters or digits at its ends"
        let bytes = Array(name.utf8)
        guard (3...63).contains(bytes.count) else {
            throw Problem("the bucket's name is too short or too long", hint: hint)
        }
        guard bytes.allSatisfy({ isSmallOrDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") }) else {
            throw Problem("the bucket's name has a character that no bucket's may have", hint: hint)
        }
        guard let first = bytes.first, let last = bytes.last, isSmallOrDigit(first), isSmallOrDigit(last),
            !name.contains("..")
        else { throw Problem("the bucket's name begins or ends with a dot or dash, or has two dots", hint: hint) }
        let numbers = name.split(separator: ".", omittingEmptySubsequences: false)
        guard numbers.count != 4 || !numbers.allSatisfy({ $0.allSatisfy(\.isNumber) }) else {
            throw Problem("the bucket's name has the form of an address", hint: hint)
        }
        let reservedStarts = ["xn--", "sthree-", "amzn-s3-demo-"]
        let reservedEnds = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
        guard !reservedStarts.contains(where: name.hasPrefix), !reservedEnds.contains(where: name.hasSuffix) else {
            throw Problem(
                "the bucket's name is of a kind that AWS keeps for access points and the like",
                hint: "name a general purpose bucket; access points and directory buckets are not supported")
        }
    }

    /// `text` as a prefix of keys, without slashes at its ends.
    static func prefix(_ text: some StringProtocol) throws(Problem) -> String {
        var rest = Substring(text)
        while rest.first == "/" { rest.removeFirst() }
        while rest.last == "/" { rest.removeLast() }
        let steps = rest.split(separator: "/", omittingEmptySubsequences: false)
        let isPlain = rest.isEmpty || steps.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
        // A key has 1,024 bytes; ours need less than half of them.
        guard isPlain, rest.utf8.count <= 512, !hasControlCharacter(String(rest)) else {
            throw Problem(
                "it is no prefix for keys",
                hint: "steps with '/' between them, none empty, '.' or '..', 512 bytes in all, no control characters")
        }
        return String(rest)
    }

    static func checkRegion(_ text: String) throws(Problem) {
        let bytes = Array(text.utf8)
        guard (1...63).contains(bytes.count), bytes.allSatisfy({ isSmallOrDigit($0) || $0 == UInt8(ascii: "-") })
        else {
            throw Problem("it is no region's name", hint: "small letters, digits and '-', like eu-central-1")
        }
    }

    // MARK: Endpoints

    /// A server's address: `scheme://host[:port]`, nothing behind it.
    struct Endpoint {
        /// In small letters, without a slash at its end, and without a port that is the scheme's own.
        var url: String
        /// Nobody can listen on the way: TLS, or this machine.
        var isPrivate: Bool
    }

    static func endpoint(_ text: String) throws(Problem) -> Endpoint {
        let hint = "https://HOST or https://HOST:PORT, with nothing behind it"
        let lower = text.lowercased()
        guard let scheme = ["https", "http"].first(where: { lower.hasPrefix($0 + "://") }) else {
            throw Problem("it does not begin with https://", hint: hint)
        }
        var rest = lower.dropFirst(scheme.count + 3)
        if rest.last == "/" { rest.removeLast() }
        guard !rest.contains("@") else {
            throw Problem("it holds a user or password", hint: "\(hint); credentials have settings of their own")
        }
        var host = rest
        var port: Substring?
        if rest.first == "[" {
            guard let end = rest.firstIndex(of: "]") else { throw Problem("its '[' is not closed", hint: hint) }
            host = rest[rest.index(after: rest.startIndex)..<end]
            let behind = rest[rest.index(after: end)...]
            guard behind.isEmpty || behind.first == ":" else {
                throw Problem("something follows its ']'", hint: hint)
            }
            if !behind.isEmpty { port = behind.dropFirst() }
        } else if let colon = rest.firstIndex(of: ":") {
            host = rest[..<colon]
            port = rest[rest.index(after: colon)...]
        }
        let isHost = host.utf8.allSatisfy {
            isSmallOrDigit($0) || [UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_")].contains($0)
                || (rest.first == "[" && $0 == UInt8(ascii: ":"))
        }
        guard !host.isEmpty, isHost else { throw Problem("it has no host, or something behind it", hint: hint) }
        if let port {
            guard let number = Int(port), String(number) == port, (1...65_535).contains(number) else {
                throw Problem("its port is not one, or something follows it", hint: hint)
            }
        }
        let usual = scheme == "https" ? "443" : "80"
        if let given = port, given == usual { rest.removeLast(usual.count + 1) }
        return Endpoint(
            url: "\(scheme)://\(rest)", isPrivate: EndpointRule.isPrivate(scheme: scheme, host: String(rest)))
    }

    /// The names under `localhost` never leave the machine (RFC 6761, section 6.3).
    static func isLoopback(_ host: String) -> Bool {
        !host.hasPrefix("/") && (PostgresSourceReader.isLocal(host) || host.hasSuffix(".localhost"))
    }

    // MARK: Keys

    static let keyForm =
        "arn:aws:kms:REGION:ACCOUNT:key/ID, arn:aws:kms:REGION:ACCOUNT:alias/NAME, or in the configured region a key's "
        + "id or alias/NAME"

    /// A key of KMS by ARN, id or alias (AWS KMS Developer Guide, "Key identifiers").
    static func checkKMSKey(_ text: String) throws(Problem) {
        let parts = text.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false).map(String.init)
        guard parts[0] == "arn" else { return try checkKMSName(text, isOfARN: false) }
        guard parts.count == 6, parts[1] == "aws" || parts[1].hasPrefix("aws-") else {
            throw Problem("a KMS key's ARN in it is cut off, or of no partition of AWS", hint: keyForm)
        }
        guard parts[2] == "kms" else { throw Problem("an ARN in it is not of KMS", hint: keyForm) }
        do {
            try checkRegion(parts[3])
        } catch {
            throw Problem("a KMS key's ARN in it names no region", hint: keyForm)
        }
        guard parts[4].utf8.count == 12, parts[4].utf8.allSatisfy(isDigit) else {
            throw Problem("a KMS key's ARN in it names no account, which has 12 digits", hint: keyForm)
        }
        try checkKMSName(parts[5], isOfARN: true)
    }

    private static func checkKMSName(_ text: String, isOfARN: Bool) throws(Problem) {
        if text.hasPrefix("alias/") {
            let name = text.dropFirst("alias/".count)
            guard (1...250).contains(name.utf8.count),
                name.utf8.allSatisfy({ isLetterOrDigit($0) || isAliasMark($0) })
            else { throw Problem("an alias in it has no name, or a character that no alias' has", hint: keyForm) }
            guard !name.hasPrefix("aws/") else {
                throw Problem(
                    "alias/aws/… are keys that only AWS' own services may use",
                    hint: "make a key of your own in KMS, and name that")
            }
            return
        }
        let isNamed = text.hasPrefix("key/")
        guard isNamed == isOfARN else {
            throw Problem("a KMS key in it is neither a key's nor an alias' name", hint: keyForm)
        }
        let id = Array(text.dropFirst(isNamed ? "key/".count : 0).utf8)
        let digits = id.starts(with: "mrk-".utf8) ? Array(id.dropFirst(4)) : id.filter { $0 != UInt8(ascii: "-") }
        let isID =
            digits.count == 32 && (id.count == 36)
            && digits.allSatisfy { isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0) }
        guard isID else {
            throw Problem("a KMS key's id in it is none: it has 32 hexadecimal digits in five groups", hint: keyForm)
        }
    }

    // MARK: AWS Backup

    /// A vault's name (AWS Backup API Reference, "CreateBackupVault").
    static func checkVault(_ name: String) throws(Problem) {
        guard (2...50).contains(name.utf8.count),
            name.utf8.allSatisfy({ isLetterOrDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") })
        else { throw Problem("it is no vault's name", hint: "2 to 50 letters, digits, '-' and '_'") }
    }

    /// Any resource that AWS names, of which AWS Backup knows some.
    static func checkResource(_ text: String) throws(Problem) {
        let hint = "the ARN of what AWS Backup is to keep, like arn:aws:rds:eu-central-1:123456789012:db:clinic"
        let parts = try arn(text, hint)
        guard !parts[2].isEmpty, !parts[5].isEmpty, !parts[5].hasPrefix("*") else {
            throw Problem("the ARN names no resource", hint: hint)
        }
    }

    static func checkRole(_ text: String) throws(Problem) {
        let hint = "a role's ARN, like arn:aws:iam::123456789012:role/backup"
        let parts = try arn(text, hint)
        let account = Array(parts[4].utf8)
        guard parts[2] == "iam", parts[3].isEmpty, account.count == 12, account.allSatisfy(isDigit),
            parts[5].hasPrefix("role/"), parts[5].utf8.count > "role/".utf8.count
        else { throw Problem("the ARN is not a role's", hint: hint) }
    }

    /// The six parts of an ARN.
    private static func arn(_ text: String, _ hint: String) throws(Problem) -> [String] {
        let parts = text.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 6, parts[0] == "arn", parts[1] == "aws" || parts[1].hasPrefix("aws-"),
            text.utf8.count <= 2048, text.utf8.allSatisfy({ (0x21..<0x7F).contains($0) })
        else { throw Problem("it is no ARN", hint: hint) }
        return parts
    }

    // MARK: Characters

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func isSmallOrDigit(_ byte: UInt8) -> Bool {
        isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }

    private static func isAliasMark(_ byte: UInt8) -> Bool { "/_-".utf8.contains(byte) }
}
