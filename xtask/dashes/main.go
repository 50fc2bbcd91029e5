// Reads a dashboard with Grafana's own schema, its queries with Prometheus' parser, and a rule file with Prometheus'
// loader. Prints how much there was; anything wrong goes to the standard error, with exit code 1.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "dashes DASHBOARD.json RULES.yaml")
		os.Exit(2)
	}
	promql := parser.NewParser(parser.Options{})
	queries, wrong := board(read(os.Args[1]), promql)
	rules, more := ruleFile(read(os.Args[2]), promql)
	for _, err := range append(wrong, more...) {
		fmt.Fprintln(os.Stderr, err)
	}
	if len(wrong)+len(more) > 0 {
		os.Exit(1)
	}
	fmt.Printf("%d queries, %d rules\n", queries, rules)
}

func read(path string) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return text
}

func board(text []byte, promql parser.Parser) (int, []error) {
	plugins.RegisterDefaultPlugins()
	var read dashboard.Dashboard
	// With nothing to complain of it returns an empty list of errors, which is not nil.
	if err := read.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
		return 0, []error{fmt.Errorf("dashboard: %w", err)}
	}
	if err := read.Validate(); err != nil {
		return 0, []error{fmt.Errorf("dashboard: %w", err)}
	}
	var plain struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &plain); err != nil {
		return 0, []error{err}
	}
	count := 0
	var wrong []error
	// Grafana fills these in before Prometheus sees the query.
	filled := strings.NewReplacer("$__rate_interval", "1m", "$job", "pointsman")
	for _, panel := range plain.Panels {
		for _, target := range panel.Targets {
			count++
			if _, err := promql.ParseExpr(filled.Replace(target.Expr)); err != nil {
				wrong = append(wrong, fmt.Errorf("panel %q: %s: %w", panel.Title, target.Expr, err))
			}
		}
	}
	return count, wrong
}

func ruleFile(text []byte, promql parser.Parser) (int, []error) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	groups, wrong := rulefmt.Parse(text, false, model.UTF8Validation, promql, quiet)
	count := 0
	if groups != nil {
		for _, group := range groups.Groups {
			count += len(group.Rules)
		}
	}
	return count, wrong
}
