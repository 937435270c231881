//! Cells of tables that people open in spreadsheets.

/// A spreadsheet runs what begins so, and shows what begins with an apostrophe as it stands behind it.
pub fn harmless(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}
