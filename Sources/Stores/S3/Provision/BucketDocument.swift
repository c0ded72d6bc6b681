/// The way back: bucket configurations are read, changed and sent again, with what others have put there.
extension XMLTree {
    init(_ name: String, _ text: String) { self.init(name: name, text: text) }
    init(_ name: String, _ children: [XMLTree]) { self.init(name: name, children: children) }

    /// The text of the element that is reached through `path`.
    func text(at path: String...) -> String? {
        var tree = self
        for name in path {
            guard let next = tree.first(name) else { return nil }
            tree = next
        }
        return tree.text
    }

    /// As the root of a configuration that is sent to S3.
    var document: String { written(as: "\(name) xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"") }

    /// As an element within.
    var element: String { written(as: name) }

    private func written(as start: String) -> String {
        if children.isEmpty { return text.isEmpty ? "<\(start)/>" : "<\(start)>\(Self.escape(text))</\(name)>" }
        return "<\(start)>" + children.map(\.element).joined() + "</\(name)>"
    }
}
