//! Cells of exported tables, which spreadsheets open.

/// A spreadsheet runs what begins so, and shows what begins with an apostrophe as it stands behind it.
pub fn harmless(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mn_22_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(harmless(cell.into()), format!("'{cell}"));
        }
        for cell in ["", "a=1", " =1", "张三", "'=1", "1-1"] {
            assert_eq!(harmless(cell.into()), cell);
        }
    }
}
