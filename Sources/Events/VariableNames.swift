/// Which environment variables are ours, and which are nearly so.
enum VariableNames {
    /// Every variable of the configuration. The event's own are ``EventField``'s.
    static let known: Set<String> = Set(
        Setting.allCases.map(\.variable)
            + Setting.allCases.filter(\.isSecret).map { $0.variable + "_FILE" }
            + EngineName.allCases.flatMap(\.settings).flatMap(\.variables) + programs
            + [
                "BACKUP_ENGINE", "BACKUP_TARGET", "BACKUP_EVENT", "LIFEBOAT_CONFIG",
                "LIFEBOAT_RUN_ID", "DRY_RUN", "DEBUG",
            ])

    /// Where the programs lie that a source is read with, in the place of `PATH`.
    static let programs = ["POSTGRES_BIN", "MYSQL_BIN", "MONGODB_BIN", "GPG_BIN"]

    private static let families = [
        "BACKUP_", "POSTGRES_", "METRICS_", "LIFEBOAT_", "S3_", "MYSQL_", "MONGODB_", "FILES_", "KEYS_", "AUDIT_",
        "PKCS11_", "VERIFY_", "RESTORE_", "SCRATCH_", "AWS_BACKUP_",
    ]
    /// Other programs' variables that are no slips of ours: MySQL's own.
    private static let foreign: Set<String> = ["MYSQL_HOME", "MYSQL_PS1", "MYSQL_PWD", "MYSQL_HISTFILE"]
    /// Families of which every member means something.
    private static let wholeFamilies = ["S3_STORAGE_CLASS_", "BACKUP_SECONDARY_"]
    /// Letters of the longest name that is too short to be taken for a slip of another's: `S3_SSL` may be anything.
    private static let shortest = 8

    /// AWS' own variables that are read, as its SDKs read them. All others that begin so are let be.
    static let aws: [String] = [
        "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL_STS",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL_BACKUP",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_CA_BUNDLE", "AWS_MAX_ATTEMPTS",
    ]
    static let secretAWS = [
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    ]

    /// Refuses variables that would be passed over although somebody expects something of them: those of later
    /// versions, those that would lead libpq elsewhere, and slips of the keyboard. Other programs' variables are let
    /// be, also those that Kubernetes makes for Services.
    static func check(_ names: [String]) throws(ConfigurationError) {
        for name in names {
            if let reason = NotInThisVersion.variables[name] {
                throw ConfigurationError(name, reason, hint: "unset it")
            }
            if LibpqParameters.refused.contains(name) {
                throw ConfigurationError(
                    name, "it could lead the connection past the checks made here",
                    hint: "unset it and say the same with POSTGRES_HOST or POSTGRES_URL")
            }
            try refuseMisspelt(name)
        }
    }

    private static func refuseMisspelt(_ name: String) throws(ConfigurationError) {
        guard families.contains(where: name.hasPrefix), !known.contains(name), !foreign.contains(name),
            !isOwnedElsewhere(name)
        else { return }
        if let family = wholeFamilies.first(where: name.hasPrefix) {
            let all = known.filter { $0.hasPrefix(family) }.sorted().map { $0.dropFirst(family.count) }
            throw ConfigurationError(
                shown(name), "it is no variable of this program",
                hint: "after \(family) may stand \(choices(all.map(String.init)))")
        }
        let letters = Array(name.utf8)
        for other in known.sorted()
        where other.utf8.count > shortest && editDistance(letters, Array(other.utf8)) <= 2 {
            throw ConfigurationError(
                shown(name), "it is no variable of this program, but nearly \(other)",
                hint: "write \(other), or unset it")
        }
    }

    /// Destinations have names of their own, and an event's misspelt variables have better advice there.
    private static func isOwnedElsewhere(_ name: String) -> Bool {
        name.hasPrefix(SecretVariables.destinationPrefix)
            || EventField.allCases.contains { folded($0.name) == folded(name) }
    }

    /// The variables that give destinations, each without `_FILE`, once.
    static func destinations(_ names: [String]) throws(ConfigurationError) -> [String] {
        var result: [String] = []
        for name in names where name.hasPrefix(SecretVariables.destinationPrefix) {
            guard name == name.uppercased() else {
                throw ConfigurationError(
                    shown(name), "a destination's variable is written in capitals",
                    hint: "write \(shown(name.uppercased())); events name the destination in small letters")
            }
            let variable = name.hasSuffix("_FILE") ? String(name.dropLast("_FILE".count)) : name
            if !result.contains(variable) { result.append(variable) }
        }
        return result
    }
}
