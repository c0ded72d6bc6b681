/// A group of regions that share their host names' ending.
struct AWSPartition {
    var dnsSuffix: String
    /// Of the hosts that answer over IPv6 too; S3 keeps the ordinary one.
    var dualStackSuffix: String
    var hasFIPS = true
    /// Where the global IAM is reached and signed for.
    var iamHost: String?
    var iamRegion: String?

    /// By the beginning of the region's name; anything unknown is taken for a new region of the public cloud.
    init(region: String) {
        if region.hasPrefix("cn-") {
            dnsSuffix = "amazonaws.com.cn"
            dualStackSuffix = "api.amazonwebservices.com.cn"
            hasFIPS = false
            iamHost = "iam.cn-north-1.amazonaws.com.cn"
            iamRegion = "cn-north-1"
        } else if region.hasPrefix("us-gov-") {
            dnsSuffix = "amazonaws.com"
            dualStackSuffix = "api.aws"
            iamHost = "iam.us-gov.amazonaws.com"
            iamRegion = "us-gov-west-1"
        } else if region.hasPrefix("eusc-") {
            dnsSuffix = "amazonaws.eu"
            dualStackSuffix = "api.amazonwebservices.eu"
        } else if region.hasPrefix("us-iso-") {
            dnsSuffix = "c2s.ic.gov"
            dualStackSuffix = "api.aws.ic.gov"
        } else if region.hasPrefix("us-isob-") {
            dnsSuffix = "sc2s.sgov.gov"
            dualStackSuffix = "api.aws.scloud"
        } else {
            dnsSuffix = "amazonaws.com"
            dualStackSuffix = "api.aws"
            iamHost = "iam.amazonaws.com"
            iamRegion = "us-east-1"
        }
    }

    func endpoint(for service: AWSService, region: String, isFIPS: Bool, isDualStack: Bool) -> AWSEndpoint {
        if service == .iam, let iamHost, let iamRegion {
            let host = isFIPS && iamHost == "iam.amazonaws.com" ? "iam-fips.amazonaws.com" : iamHost
            return AWSEndpoint(scheme: "https", host: host, region: iamRegion, isCustom: false)
        }
        let name = service.rawValue + (isFIPS && !isFIPSByItself(service, region: region, isDualStack) ? "-fips" : "")
        let host =
            switch (service, isDualStack) {
            case (.s3, true): "\(name).dualstack.\(region).\(dnsSuffix)"
            case (.secretsManager, true) where dnsSuffix == "amazonaws.com": "\(name).\(region).\(dnsSuffix)"
            case (_, true): "\(name).\(region).\(dualStackSuffix)"
            case (_, false): "\(name).\(region).\(dnsSuffix)"
            }
        return AWSEndpoint(scheme: "https", host: host, region: region, isCustom: false)
    }

    /// The regions for the US government have these services in validated form only, under their plain names.
    private func isFIPSByItself(_ service: AWSService, region: String, _ isDualStack: Bool) -> Bool {
        region.hasPrefix("us-gov-") && !isDualStack && [.sts, .sns, .ssm].contains(service)
    }
}

extension AWSService {
    /// In the credential scope of a signature.
    var signingName: String { rawValue }

    /// In `AWS_ENDPOINT_URL_<SERVICE>`, there in capitals, and in a `services` section.
    var configurationName: String { self == .secretsManager ? "secrets_manager" : rawValue }
}
