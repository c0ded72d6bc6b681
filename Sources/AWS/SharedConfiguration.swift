import Core

/// One of the two files that the AWS tools share, `~/.aws/config` or `~/.aws/credentials`, read but not interpreted.
///
/// The form is the one of the AWS SDKs and Tools reference guide: `[section]` lines, `name = value` lines, comments
/// that begin with `#` or `;`, and lines that are indented under a name without a value.
package struct SharedConfiguration: Sendable {
    /// The lines under one heading. Names are in lower case.
    package struct Section: Sendable, Equatable {
        package var values: [String: String] = [:]
        /// What is indented under a name without a value: `s3 =` and, below it, `endpoint_url = …`.
        package var nested: [String: [String: String]] = [:]

        package init() {}

        /// The value of `name`; `nil` where it is missing or empty.
        package subscript(_ name: String) -> String? {
            guard let value = values[name], !value.isEmpty else { return nil }
            return value
        }
    }

    /// By what stands between the brackets, with single spaces: `default`, `profile clinic`, `services local`.
    package private(set) var sections: [String: Section] = [:]

    /// No section at all: what a missing file means.
    package init() {}

    /// Throws a `Failure` with exit code 4 that names the line, never what stands there: it may be a key.
    package init(_ bytes: [UInt8], path: String) throws {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Self.problem(path, "it is not text in UTF-8")
        }
        var reader = SectionReader()
        // A carriage return and the newline behind it are one character.
        let lines = text.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }
        for (index, line) in lines.enumerated() {
            guard reader.read(line) else {
                throw Self.problem(path, "line \(index + 1) is neither '[section]' nor 'name = value'")
            }
        }
        sections = reader.sections
    }

    /// A profile of the configuration file: `[profile clinic]`, and `[default]` or `[profile default]`.
    package func profile(_ name: String) -> Section? {
        sections["profile \(name)"] ?? (name == "default" ? sections["default"] : nil)
    }

    /// Where the configuration file lies: `AWS_CONFIG_FILE`, else `~/.aws/config`; `nil` without a home.
    package static func configurationPath(_ environment: [String: String]) -> String? {
        path(environment, variable: "AWS_CONFIG_FILE", name: "config")
    }

    /// Where the credentials file lies: `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`; `nil` without a home.
    package static func credentialsPath(_ environment: [String: String]) -> String? {
        path(environment, variable: "AWS_SHARED_CREDENTIALS_FILE", name: "credentials")
    }

    /// `AWS_PROFILE`, else `default`.
    package static func profileName(_ environment: [String: String]) -> String {
        for name in ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"] {
            if let value = environment[name], !value.isEmpty { return value }
        }
        return "default"
    }

    /// The file at `path`. Without `isRequired`, which is for a file that somebody has named, one that cannot be read
    /// is one without sections: a pod has no `~/.aws`, and `readFile` does not say which kind of missing it met.
    package static func read(
        _ path: String?, isRequired: Bool, readFile: (String) throws -> [UInt8]
    ) throws -> SharedConfiguration {
        guard let path else { return SharedConfiguration() }
        let bytes: [UInt8]
        do {
            bytes = try readFile(path)
        } catch {
            guard isRequired else { return SharedConfiguration() }
            throw problem(path, (error as? any Failure)?.cause ?? "it cannot be read: \(error)")
        }
        return try SharedConfiguration(bytes, path: path)
    }

    private static func path(_ environment: [String: String], variable: String, name: String) -> String? {
        let home = environment["HOME"].flatMap { $0.isEmpty ? nil : $0 }
        guard let named = environment[variable], !named.isEmpty else { return home.map { "\($0)/.aws/\(name)" } }
        if named.hasPrefix("~/"), let home { return home + named.dropFirst() }
        return named
    }

    private static func problem(_ path: String, _ cause: String) -> JobFailure {
        JobFailure(
            .configuration, "read the AWS configuration file", object: path, cause: cause,
            hint: "correct the file, or name another one in AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE")
    }
}

/// Reads line after line.
private struct SectionReader {
    var sections: [String: SharedConfiguration.Section] = [:]
    private var current: String?
    /// The name that indented lines belong to.
    private var last: String?

    /// False for a line that has no place in such a file.
    mutating func read(_ line: Substring) -> Bool {
        let text = trimmed(line)
        guard let first = text.first, first != "#", first != ";" else { return true }
        if first == "[" { return open(text) }
        guard let current else { return false }
        if line.first == " " || line.first == "\t" { return readIndented(text, in: current) }
        guard let (name, value) = pair(text) else { return false }
        sections[current]?.values[name] = value
        last = name
        return true
    }

    private mutating func open(_ text: Substring) -> Bool {
        guard let end = text.firstIndex(of: "]") else { return false }
        let name = text[..<end].dropFirst().split { $0 == " " || $0 == "\t" }.joined(separator: " ")
        guard !name.isEmpty else { return false }
        // A section that comes twice is one: the later lines win.
        if sections[name] == nil { sections[name] = SharedConfiguration.Section() }
        current = name
        last = nil
        return true
    }

    private mutating func readIndented(_ text: Substring, in section: String) -> Bool {
        guard let last else { return false }
        guard sections[section]?.values[last]?.isEmpty == true else {
            // The value goes on.
            let more = withoutComment(text)
            sections[section]?.values[last]?.append("\n" + more)
            return true
        }
        guard let (name, value) = pair(text) else { return false }
        sections[section]?.nested[last, default: [:]][name] = value
        return true
    }

    private func pair(_ text: Substring) -> (name: String, value: String)? {
        guard let equals = text.firstIndex(of: "=") else { return nil }
        let name = trimmed(text[..<equals]).lowercased()
        guard !name.isEmpty else { return nil }
        return (name, withoutComment(trimmed(text[text.index(after: equals)...])))
    }

    /// A comment behind a value begins with white space: `#` alone may stand in a value.
    private func withoutComment(_ text: Substring) -> String {
        var previous: Character = " "
        for index in text.indices {
            if (text[index] == "#" || text[index] == ";") && (previous == " " || previous == "\t") {
                return String(trimmed(text[..<index]))
            }
            previous = text[index]
        }
        return String(text)
    }

    private func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }
}
