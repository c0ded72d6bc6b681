import Core
import Testing

/// One of a thing has the singular; none and several have the plural, made by an `s` or said.
@Test(
    "Counts with their words",
    arguments: [(0, "0 trees", "0 entries are"), (1, "1 tree", "1 entry is"), (2, "2 trees", "2 entries are")])
func countedWords(_ count: Int64, _ regular: String, _ said: String) {
    #expect(counted(count, "tree") == regular)
    #expect(counted(count, "entry is", "entries are") == said)
}
