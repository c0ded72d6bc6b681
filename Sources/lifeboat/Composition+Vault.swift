import AWS
import Core
import Events

extension Composition {
    /// The vault that keeps copies of its own beside the sets; `nil` where none is configured. Sends nothing.
    static func vault(of target: TargetSettings, cloud: Cloud) throws -> (any Vault)? {
        guard let settings = target.awsBackup else { return nil }
        let account = try cloud.account()
        try Cloud.demandTLS(try endpoint(ofVault: settings, account), of: "AWS Backup")
        return try BackupVault(
            vault: settings.vault, resourceARN: settings.resourceARN, roleARN: settings.roleARN,
            client: account.client, configuration: account.configuration)
    }

    static func endpoint(ofVault settings: AWSBackupSettings, _ account: Cloud.Account) throws -> AWSEndpoint {
        try BackupVault.endpoint(of: settings.resourceARN, account.configuration)
    }
}
