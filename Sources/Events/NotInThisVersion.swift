/// Names that mean something to the design and nothing to this version. Passing them over would let somebody believe
/// that an alert will come.
enum NotInThisVersion {
    static let variables: [String: String] = {
        let reason = "reports go to METRICS_DIR and standard output in this version"
        let names = [
            "METRICS_PUSHGATEWAY_URL", "ALERT_WEBHOOK_URL", "ALERT_WEBHOOK_URL_FILE", "SLACK_WEBHOOK_URL",
            "SLACK_WEBHOOK_URL_FILE", "SNS_TOPIC_ARN",
        ]
        return Dictionary(uniqueKeysWithValues: names.map { ($0, reason) })
    }()

    /// Keys of the file, of the same kinds.
    static let keys: [String: String] = {
        let reason = "reports go to metricsDirectory and standard output in this version"
        let names = ["metricsPushgatewayURL", "alertWebhookURL", "slackWebhookURL", "snsTopicARN"]
        return Dictionary(uniqueKeysWithValues: names.map { ($0, reason) })
    }()
}
