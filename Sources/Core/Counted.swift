/// `1 tree`, `2 trees`: how many of what. `many` is said where the plural is not the word with an `s`, and with words
/// that agree with it: `counted(3, "file is", "files are")`.
package func counted(_ count: some BinaryInteger, _ one: String, _ many: String? = nil) -> String {
    "\(count) \(count == 1 ? one : many ?? one + "s")"
}
