import Core

/// What the environment, and the shared configuration file where there is one, say of AWS.
///
/// Variables, with their keys in `~/.aws/config` where they have one: `AWS_REGION` and `AWS_DEFAULT_REGION`
/// (`region`), `AWS_ENDPOINT_URL` (`endpoint_url`), `AWS_ENDPOINT_URL_<SERVICE>` (`endpoint_url` in a `services`
/// section), `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` (`ignore_configured_endpoint_urls`), `AWS_USE_FIPS_ENDPOINT`
/// (`use_fips_endpoint`), `AWS_USE_DUALSTACK_ENDPOINT` (`use_dualstack_endpoint`), `AWS_CA_BUNDLE` (`ca_bundle`),
/// `AWS_MAX_ATTEMPTS` (`max_attempts`), `AWS_PROFILE`, `AWS_CONFIG_FILE`. A variable wins over the file.
package struct AWSConfiguration: Sendable {
    /// Attempts that a request has where nothing else is asked for. More than the AWS tools' three: with the waits
    /// between them these bridge about half a minute, which a backup of hours should survive.
    package static let defaultAttempts = 8

    package var environment: [String: String]
    package var region: String?
    /// Path of a PEM file.
    package var caBundle: String?
    package var maxAttempts: Int
    package var usesFIPS: Bool
    package var usesDualStack: Bool
    /// The configuration file, for whoever needs more of it.
    package var shared: SharedConfiguration
    /// The profile's name, whether or not the file has it.
    package var profileName: String

    /// Throws a `Failure` with exit code 4. `readFile` gives the bytes of the file at a path and throws where it
    /// cannot.
    package init(environment: [String: String], readFile: (String) throws -> [UInt8]) throws {
        self.environment = environment
        shared = try SharedConfiguration.read(
            SharedConfiguration.configurationPath(environment),
            isRequired: environment["AWS_CONFIG_FILE"]?.isEmpty == false, readFile: readFile)
        profileName = SharedConfiguration.profileName(environment)
        let lookup = Lookup(environment: environment, profile: shared.profile(profileName))
        region = try (lookup.text("AWS_REGION") ?? lookup.text("AWS_DEFAULT_REGION", "region")).map(Self.region)?.text
        caBundle = lookup.text("AWS_CA_BUNDLE", "ca_bundle")?.text
        usesFIPS = try lookup.flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")
        usesDualStack = try lookup.flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")
        maxAttempts = Self.defaultAttempts
        if let found = lookup.text("AWS_MAX_ATTEMPTS", "max_attempts") {
            guard let count = Int(found.text), (1...100).contains(count) else {
                throw configurationFailure(found.name, "it is no number from 1 to 100", hint: "leave it out for 8")
            }
            maxAttempts = count
        }
        ignoresConfiguredEndpoints = try lookup.flag(
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")
    }

    private let ignoresConfiguredEndpoints: Bool

    /// Where `service` is reached. `region` wins over the configured one; `override` is a URL that wins over
    /// everything (`S3_ENDPOINT`). Throws ``AWSError`` of kind `configuration`, exit code 4.
    package func endpoint(
        for service: AWSService, region: String? = nil, override: String? = nil
    ) throws -> AWSEndpoint {
        let region = try (region ?? self.region).map { try Self.region(Found(text: $0, name: "the region")).text }
        if let override {
            return try customEndpoint(Found(text: override, name: "the endpoint"), service: service, region: region)
        }
        if let found = configuredURL(for: service) {
            // A person who asks for FIPS must not get a server that nobody has validated.
            guard !usesFIPS && !usesDualStack else {
                throw AWSError(
                    .configuration, service, "endpoint", resource: found.name,
                    message: "a configured endpoint cannot be combined with FIPS or dual-stack endpoints",
                    exitCode: .configuration, hint: "name the endpoint itself, or take one of the two settings away")
            }
            return try customEndpoint(found, service: service, region: region)
        }
        guard let region else { throw Self.missingRegion(service) }
        let partition = AWSPartition(region: region)
        if usesFIPS && !partition.hasFIPS {
            throw AWSError(
                .configuration, service, "endpoint", resource: region, message: "the region has no FIPS endpoints",
                exitCode: .configuration, hint: "take AWS_USE_FIPS_ENDPOINT away, or use another region")
        }
        return partition.endpoint(
            for: service, region: region, isFIPS: usesFIPS, isDualStack: usesDualStack)
    }

    private func configuredURL(for service: AWSService) -> Found? {
        guard !ignoresConfiguredEndpoints else { return nil }
        let profile = shared.profile(profileName)
        let lookup = Lookup(environment: environment, profile: profile)
        if let found = lookup.text("AWS_ENDPOINT_URL_\(service.configurationName.uppercased())") { return found }
        if let found = lookup.text("AWS_ENDPOINT_URL") { return found }
        if let services = profile?["services"],
            let url = shared.sections["services \(services)"]?.nested[service.configurationName]?["endpoint_url"],
            !url.isEmpty
        {
            return Found(text: url, name: "endpoint_url in [services \(services)]")
        }
        return lookup.text(nil, "endpoint_url")
    }

    private func customEndpoint(_ found: Found, service: AWSService, region: String?) throws -> AWSEndpoint {
        guard let url = EndpointURL(found.text) else {
            throw AWSError(
                .configuration, service, "endpoint", resource: found.name,
                message: "it is no URL of the form https://host or https://host:port",
                exitCode: .configuration, hint: "take user names, paths and queries out of it")
        }
        // AWS' own hosts under another name (interface endpoints) check the region; other servers take any.
        if region == nil && url.host.contains(".amazonaws.") { throw Self.missingRegion(service) }
        return AWSEndpoint(
            scheme: url.scheme, host: url.host, region: region ?? "us-east-1", isCustom: true)
    }

    private static func missingRegion(_ service: AWSService) -> AWSError {
        AWSError(
            .configuration, service, "endpoint", message: "no region is configured", exitCode: .configuration,
            hint: "set AWS_REGION, for example to eu-central-1")
    }

    /// Regions stand in host names: anything but letters, digits and hyphens could name another host.
    private static func region(_ found: Found) throws -> Found {
        let isValid = found.text.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
        }
        guard isValid, !found.text.isEmpty, found.text.utf8.count <= 63 else {
            throw configurationFailure(
                found.name, "it is no name of a region", hint: "regions are written as in eu-central-1")
        }
        return found
    }
}

/// A value and where it was found, for messages.
private struct Found {
    var text: String
    var name: String
}

/// The environment first, then the profile.
private struct Lookup {
    var environment: [String: String]
    var profile: SharedConfiguration.Section?

    func text(_ variable: String?, _ key: String? = nil) -> Found? {
        if let variable, let value = environment[variable], !value.isEmpty {
            return Found(text: value, name: variable)
        }
        guard let key, let value = profile?[key] else { return nil }
        return Found(text: value, name: "\(key) in the AWS profile")
    }

    func flag(_ variable: String, _ key: String) throws -> Bool {
        guard let found = text(variable, key) else { return false }
        switch found.text.lowercased() {
        case "true": return true
        case "false": return false
        default: throw configurationFailure(found.name, "it is neither true nor false", hint: "write true or false")
        }
    }
}

private func configurationFailure(_ name: String, _ cause: String, hint: String) -> JobFailure {
    JobFailure(.configuration, "read the AWS configuration", object: name, cause: cause, hint: hint)
}

/// `https://host:port` and no more.
private struct EndpointURL {
    var scheme: String
    /// With the port where it is not the scheme's own.
    var host: String

    init?(_ text: String) {
        guard let separator = text.firstRange(of: "://") else { return nil }
        scheme = text[..<separator.lowerBound].lowercased()
        guard scheme == "https" || scheme == "http" else { return nil }
        var rest = text[separator.upperBound...].lowercased()
        if rest.hasSuffix("/") { rest.removeLast() }
        let isPlain = rest.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: ":"), UInt8(ascii: "["),
                UInt8(ascii: "]"):
                true
            default: false
            }
        }
        guard isPlain, !rest.isEmpty, !rest.hasPrefix(":") else { return nil }
        // An IPv6 address has colons of its own inside its brackets.
        let address = rest.hasPrefix("[") ? rest.firstIndex(of: "]").map { rest.index(after: $0) } : nil
        guard !rest.hasPrefix("[") || address != nil else { return nil }
        if let colon = rest[(address ?? rest.startIndex)...].firstIndex(of: ":") {
            guard let port = Int(rest[rest.index(after: colon)...]), (1...65535).contains(port) else { return nil }
            if port == (scheme == "https" ? 443 : 80) { rest = String(rest[..<colon]) }
        }
        host = rest
    }
}
