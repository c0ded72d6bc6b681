import Core

/// A profile of the shared files: `AWS_PROFILE`, `AWS_CONFIG_FILE`, `AWS_SHARED_CREDENTIALS_FILE`
/// (AWS SDKs and Tools reference guide, "Shared config and credentials files").
///
/// Within a profile a role comes before static keys, and those before a process, as in the SDKs.
struct ProfileCredentials: CredentialProvider {
    /// How many profiles a role may lead through.
    private static let longestChain = 8

    let surroundings: CredentialSurroundings
    /// One that has to be there and has to give credentials; `nil` for `AWS_PROFILE`, else `default`.
    let wanted: String?

    func fetch() async throws -> CredentialFinding {
        let named = wanted ?? surroundings.variable("AWS_PROFILE") ?? surroundings.variable("AWS_DEFAULT_PROFILE")
        let name = named ?? "default"
        let files = try await ProfileFiles(surroundings)
        guard let profile = files.profile(name) else {
            guard named == nil else {
                throw AWSError.credentials(
                    "profile", resource: name, "there is no such profile in \(files.places)",
                    hint: "mount the file that has it, name the file in AWS_CONFIG_FILE or "
                        + "AWS_SHARED_CREDENTIALS_FILE, or correct the profile's name")
            }
            return .absent("the shared files (no profile 'default' in \(files.places))")
        }
        if let found = try await credentials(of: profile, files, above: []) { return .found(found) }
        guard wanted == nil else {
            throw AWSError.credentials(
                "profile", resource: name, "the profile says nothing of credentials", hint: Self.hint)
        }
        return .absent("the shared files (the profile '\(name)' says nothing of credentials)")
    }

    private static let hint =
        "give it aws_access_key_id and aws_secret_access_key, role_arn with source_profile, credential_source or "
        + "web_identity_token_file, or credential_process"

    /// `nil` where the profile says nothing of credentials. `above` are the profiles that led here.
    private func credentials(
        of profile: Profile, _ files: ProfileFiles, above: [String]
    ) async throws -> AWSCredentials? {
        if let role = profile["role_arn"] {
            return try await assume(role, by: profile, files, above: above)
        }
        if let keys = try staticKeys(of: profile) { return keys }
        if let command = profile["credential_process"] {
            return try await CredentialProcess(surroundings: surroundings, profile: profile.name).run(command)
        }
        let sso = ["sso_session", "sso_start_url", "sso_account_id", "login_session"].first { profile[$0] != nil }
        if let sso {
            throw AWSError.credentials(
                "profile", resource: profile.name, "'\(sso)' needs a person who signs in, and a backup has none",
                hint: "name a profile with a role or keys: in Kubernetes a role of the pod's service account")
        }
        return nil
    }

    private func assume(
        _ role: String, by profile: Profile, _ files: ProfileFiles, above: [String]
    ) async throws -> AWSCredentials {
        let service = SecurityTokenService(surroundings: surroundings, region: profile["region"])
        let session = profile["role_session_name"]
        if let file = profile["web_identity_token_file"] {
            let token = try await surroundings.token(in: file, source: "profile", variable: "web_identity_token_file")
            return try await service.assume(role, withWebIdentity: token, sessionName: session)
        }
        if profile["mfa_serial"] != nil {
            throw AWSError.credentials(
                "profile", resource: profile.name, "'mfa_serial' needs a person with a code, and a backup has none",
                hint: "name a profile whose role asks for no code")
        }
        let base = try await source(of: profile, files, above: above)
        return try await service.assume(
            role, with: base, sessionName: session, externalID: profile["external_id"],
            duration: profile["duration_seconds"])
    }

    /// The credentials that a profile's role is taken with.
    private func source(
        of profile: Profile, _ files: ProfileFiles, above: [String]
    ) async throws -> AWSCredentials {
        let problem: (String, String) -> AWSError = {
            .credentials("profile", resource: profile.name, $0, hint: $1)
        }
        switch (profile["source_profile"], profile["credential_source"]) {
        case (let name?, nil):
            if name == profile.name {
                // A profile that is its own source means the keys beside its role.
                guard let keys = try staticKeys(of: profile) else {
                    throw problem("it is its own source_profile and has no keys", Self.hint)
                }
                return keys
            }
            let above = above + [profile.name]
            guard !above.contains(name), above.count < Self.longestChain else {
                throw problem("its source_profile leads in a circle, or too far", "let it end at a profile with keys")
            }
            guard let next = files.profile(name) else {
                throw problem("its source_profile '\(name)' is not in \(files.places)", "correct the name")
            }
            guard let found = try await credentials(of: next, files, above: above) else {
                throw problem("its source_profile '\(name)' says nothing of credentials", Self.hint)
            }
            return found
        case (nil, let source?):
            let provider: any CredentialProvider
            switch source {
            case "Environment": provider = EnvironmentCredentials(surroundings: surroundings)
            case "EcsContainer": provider = ContainerCredentials(surroundings: surroundings)
            case "Ec2InstanceMetadata": provider = InstanceCredentials(surroundings: surroundings)
            default:
                throw problem(
                    "its credential_source is not known",
                    "write Environment, EcsContainer or Ec2InstanceMetadata")
            }
            switch try await provider.fetch() {
            case .found(let found): return found
            case .absent(let place): throw problem("its credential_source gives nothing: \(place)", Self.hint)
            }
        default:
            throw problem("it has a role_arn and not exactly one of source_profile and credential_source", Self.hint)
        }
    }

    private func staticKeys(of profile: Profile) throws -> AWSCredentials? {
        let id = profile["aws_access_key_id"]
        let secret = profile["aws_secret_access_key"]
        guard id != nil || secret != nil else { return nil }
        guard let id, let secret else {
            throw AWSError.credentials(
                "profile", resource: profile.name, "it has only half of a key",
                hint: "give it both aws_access_key_id and aws_secret_access_key")
        }
        return AWSCredentials(
            accessKeyID: id, secretAccessKey: Secret(secret),
            sessionToken: profile["aws_session_token"].map { Secret($0) }, source: "profile \(profile.name)")
    }
}

/// A profile as both files make it: what the credentials file says wins.
private struct Profile {
    let name: String
    let configuration: SharedConfiguration.Section?
    let credentials: SharedConfiguration.Section?

    subscript(_ key: String) -> String? { credentials?[key] ?? configuration?[key] }
}

/// Both files, read anew for each fetch: a mounted secret changes while the process runs.
private struct ProfileFiles {
    private let configuration: SharedConfiguration
    private let credentials: SharedConfiguration
    /// For messages.
    let places: String

    init(_ surroundings: CredentialSurroundings) async throws {
        let environment = surroundings.configuration.environment
        let configurationPath = SharedConfiguration.configurationPath(environment)
        let credentialsPath = SharedConfiguration.credentialsPath(environment)
        let readFile = surroundings.readFile
        let isNamed = { (name: String) in environment[name].map { !$0.isEmpty } ?? false }
        let namesConfiguration = isNamed("AWS_CONFIG_FILE")
        let namesCredentials = isNamed("AWS_SHARED_CREDENTIALS_FILE")
        (configuration, credentials) = try await onThread("credentials") {
            (
                try SharedConfiguration.read(
                    configurationPath, isRequired: namesConfiguration, readFile: readFile),
                try SharedConfiguration.read(credentialsPath, isRequired: namesCredentials, readFile: readFile)
            )
        }
        places = [configurationPath, credentialsPath].compactMap(\.self).joined(separator: " or ")
    }

    func profile(_ name: String) -> Profile? {
        let profile = Profile(
            name: name, configuration: configuration.profile(name), credentials: credentials.sections[name])
        return profile.configuration == nil && profile.credentials == nil ? nil : profile
    }
}
