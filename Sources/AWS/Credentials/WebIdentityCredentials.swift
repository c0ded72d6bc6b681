import Core

/// A role taken with the token that Kubernetes mounts (EKS IAM roles for service accounts): `AWS_ROLE_ARN`,
/// `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_SESSION_NAME`.
struct WebIdentityCredentials: CredentialProvider {
    let surroundings: CredentialSurroundings

    func fetch() async throws -> CredentialFinding {
        guard let file = surroundings.variable("AWS_WEB_IDENTITY_TOKEN_FILE") else {
            return .absent("the web identity token (AWS_WEB_IDENTITY_TOKEN_FILE is not set)")
        }
        guard let role = surroundings.variable("AWS_ROLE_ARN") else {
            throw AWSError.credentials(
                "web identity", resource: file, "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not",
                hint: "annotate the service account with eks.amazonaws.com/role-arn, or set AWS_ROLE_ARN")
        }
        let token = try await surroundings.token(
            in: file, source: "web identity", variable: "AWS_WEB_IDENTITY_TOKEN_FILE")
        let session = surroundings.variable("AWS_ROLE_SESSION_NAME")
        return .found(
            try await SecurityTokenService(surroundings: surroundings, region: nil).assume(
                role, withWebIdentity: token, sessionName: session))
    }
}
