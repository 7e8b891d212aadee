# Computes all results: reads values (part, metric, pair, who, value) and then the rows to print (part, what, kind, metrics, who, base,
# operator, target), separated by TABs. Prints the table, writes `json`, exits with the number of missed targets.
# Call: awk -F TAB -v json=FILE -v quick= -v settings="NAME=VALUE;..." -v host=TEXT -f results.awk VALUES RESULTS
# Kinds: `ratio`   of WHO to BASE within each pair, the median over the pairs
#        `difference` of WHO and BASE within each pair, likewise
#        `median`  of WHO over the pairs
#        `max`     over the pairs, and over all of WHO if several are named
#        `medians` one for each of several metrics; for information

function sort(values, count,    i, j, held) {
    for (i = 2; i <= count; i++)
        for (j = i; j > 1 && values[j - 1] > values[j]; j--) {
            held = values[j]
            values[j] = values[j - 1]
            values[j - 1] = held
        }
}

function median(values, count) {
    sort(values, count)
    return count % 2 ? values[(count + 1) / 2] : (values[count / 2] + values[count / 2 + 1]) / 2
}

# Collects all values of a metric in `found`, in pairs with `base` if there is one. Returns how many.
function collect(part, kind, metric, who, base,    names, count, n, name, pair, divisor) {
    n = split(who, names, " ")
    count = 0
    for (name = 1; name <= n; name++)
        for (pair = 1; pair <= pairs; pair++) {
            if (!((part, metric, pair, names[name]) in value)) continue
            if (base == "-") found[++count] = value[part, metric, pair, names[name]]
            else if ((part, metric, pair, base) in value) {
                divisor = value[part, metric, pair, base]
                if (kind == "difference") found[++count] = value[part, metric, pair, names[name]] - divisor
                else found[++count] = value[part, metric, pair, names[name]] / (divisor > 0 ? divisor : 0.001)
            }
        }
    return count
}

function shown(number) {
    if (number == int(number) || number >= 1000) return sprintf("%.0f", number)
    if (number >= 100) return sprintf("%.1f", number)
    return number >= 10 ? sprintf("%.2f", number) : sprintf("%.3f", number)
}

function is_met(number, operator, target) {
    if (operator == "<=") return number <= target
    if (operator == "<") return number < target
    if (operator == ">=") return number >= target
    print "no such operator: " operator >"/dev/stderr"
    failed = 1
    exit
}

function quoted(text) {
    gsub(/\\/, "\\\\", text)
    gsub(/"/, "\\\"", text)
    return "\"" text "\""
}

NF == 5 {
    value[$1, $2, $3, $4] = $5 + 0
    if ($3 > pairs) pairs = $3
    values_json = values_json (values_json == "" ? "" : ",\n") sprintf("    {\"part\": %s, \"metric\": %s, \"pair\": %d, \"who\": %s, \"value\": %s}", \
        quoted($1), quoted($2), $3, quoted($4), $5)
    next
}

NF == 8 {
    part = $1; what = $2; kind = $3; metrics = $4; who = $5; base = $6; operator = $7; target = $8
    text = ""; number = "null"; least = "null"; most = "null"
    n = split(metrics, metric, " ")
    for (at = 1; at <= n; at++) {
        count = collect(part, kind, metric[at], who, base)
        if (count) {
            number = median(found, count)
            least = found[1]; most = found[count]
            if (kind == "max") number = most
            text = text (at > 1 ? " / " : "") shown(number)
        }
    }
    verdict = ""
    if (text == "") { text = "none"; if (operator != "-") { verdict = "MISSED"; missed++ } }
    # A QUICK run is too short to meet targets or to miss them.
    else if (operator != "-" && quick == "") { verdict = is_met(number, operator, target + 0) ? "ok" : "MISSED"; missed += verdict != "ok" }
    range = count > 1 && n == 1 ? shown(least) " .. " shown(most) : ""
    rows[++row] = sprintf("%-9s %-62s %22s  %-20s %-9s %s", part, what, text, range, operator == "-" ? "" : operator " " target, verdict)
    results_json = results_json (results_json == "" ? "" : ",\n") sprintf("    {\"part\": %s, \"what\": %s, \"kind\": %s, \"metric\": %s, \"who\": %s, " \
        "\"base\": %s, \"result\": %s, \"least\": %s, \"most\": %s, \"target\": %s, \"verdict\": %s}", quoted(part), quoted(what), quoted(kind), \
        quoted(metrics), quoted(who), base == "-" ? "null" : quoted(base), n == 1 ? number : quoted(text), least, most, \
        operator == "-" ? "null" : quoted(operator " " target), verdict == "" ? "null" : quoted(verdict))
}

END {
    if (failed) exit 100
    print host (quick == "" ? "" : "; QUICK: small trees, the numbers say nothing")
    print "part      what                                                                           result  range                target    verdict"
    for (at = 1; at <= row; at++) {
        sub(/ +$/, "", rows[at])
        print rows[at]
    }
    if (json != "") {
        n = split(settings, pair_of, ";")
        settings_json = ""
        for (at = 1; at < n; at++) {
            equals = index(pair_of[at], "=")
            settings_json = settings_json (at > 1 ? ", " : "") quoted(substr(pair_of[at], 1, equals - 1)) ": " quoted(substr(pair_of[at], equals + 1))
        }
        printf "{\n  \"host\": %s,\n  \"settings\": {%s},\n  \"results\": [\n%s\n  ],\n  \"values\": [\n%s\n  ]\n}\n", quoted(host), settings_json, \
            results_json, values_json >json
    }
    exit missed < 99 ? missed : 99
}
