# For Bats: what org.ultravisor1(5) says, to hold it to the programs. MANUAL is the page.
manual_text() { sed 's/\\-/-/g; s/\\(aq/'"'"'/g' "$MANUAL"; }
# Members in the form of test/tools/bus.c.
manual_members() {
    manual_text | awk '
        /^\.SH/ { section = $2 }
        was_tp && section == "METHODS" { sub(/^\.B /, ""); print "method " $0 }
        was_tp && section == "SIGNALS" { sub(/^\.B /, ""); print "signal " $0 }
        was_tp && section == "PROPERTIES" { sub(/^\.B /, ""); print "property " $0 }
        { was_tp = /^\.TP/ }'
}
# NAME ACTION, a line per method and property.
manual_actions() {
    manual_text | awk '
        /^\.SH/ { section = $2; action = "org.ultravisor1.view" }
        /^\.SS/ { action = $2 }
        was_tp && section == "METHODS" { sub(/^\.B /, ""); sub(/\(.*/, ""); print $0, action }
        was_tp && section == "PROPERTIES" { print $3, action }
        { was_tp = /^\.TP/ }'
}
