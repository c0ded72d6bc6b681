import AWS
import Core
import Events
import Logging

/// `lifeboat config check`: what is in force, and that what the settings name can be read. Sends nothing but for the
/// secrets that lie in AWS.
struct ConfigurationCheck {
    let settings: Settings
    let environment: [String: String]
    let summary: ConfigurationSummary
    let keys: KeyHolders
    let logger: Logger

    func run() throws {
        for line in summary.lines { Output.write(line) }
        for target in settings.targets {
            for place in [StorePlace.primary(of: target), StorePlace.secondary(of: target)].compactMap({ $0 }) {
                guard let bucket = place.location.bucket else { continue }
                _ = try Composition.store(at: place, of: target, cloud: keys.cloud, logger: logger)
                let endpoint = try Composition.endpoint(of: bucket, try keys.cloud.account(place.access))
                Output.write("\(target.name): \(place.location) is reached at \(description(endpoint))")
            }
            if let vault = target.awsBackup {
                _ = try Composition.vault(of: target, cloud: keys.cloud)
                let endpoint = try Composition.endpoint(ofVault: vault, try keys.cloud.account())
                Output.write("\(target.name): the vault \(vault.vault) is reached at \(description(endpoint))")
            }
            _ = try Composition.providers(target.keys, of: target, keys)
            let sources = Sources(target: target, environment: environment, keys: keys)
            let engine = try sources.engine()
            Output.write("\(target.name): \(engine.capabilities.name), \(engine.capabilities.endpoint)")
            if let scratch = try sources.scratch(onLeftover: { _ in }) {
                Output.write("\(target.name): sets are proven in \(scratch.label)")
            }
            for key in target.kmsKeys {
                let endpoint = try Composition.endpoint(ofKMSKey: key, try keys.cloud.account())
                Output.write("\(target.name): kms:\(key) is reached at \(description(endpoint))")
            }
        }
    }

    private func description(_ endpoint: AWSEndpoint) -> String {
        "\(endpoint.scheme)://\(endpoint.host), region \(endpoint.region)"
    }
}
