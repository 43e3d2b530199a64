internal import LinuxKernel

/// Columns of text. Whatever comes from a container is made harmless for terminals.
enum Table {
    static func text(_ titles: [String], _ rows: [[String]]) -> String {
        let all = [titles] + rows.map { $0.map(\.quotedForTerminal) }
        let widths = titles.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        return all.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                line +=
                    column == row.count - 1
                    ? cell : cell + String(repeating: " ", count: widths[column] - cell.count + 2)
            }
            return line + "\n"
        }.joined()
    }
}
