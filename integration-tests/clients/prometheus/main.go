// Prometheus's own receiver of remote write 2.0, storage and PromQL in one small program: Debian's Prometheus is older than
// the second protocol, and the whole of a newer one takes minutes to build.
//
//	prometheus LISTEN-ADDRESS DIRECTORY
package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
)

type storage struct {
	db      *tsdb.DB
	engine  *promql.Engine
	written http.Handler
}

func open(directory string) (*storage, error) {
	options := tsdb.DefaultOptions()
	options.EnableExemplarStorage = true
	options.MaxExemplars = 10_000
	options.EnableNativeHistograms = true
	db, err := tsdb.Open(directory, slog.Default(), nil, options, nil)
	if err != nil {
		return nil, err
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: 10 * time.Second, EnableAtModifier: true})
	second := []config.RemoteWriteProtoMsg{config.RemoteWriteProtoMsgV2}
	// Start times are kept as zero samples, as a Prometheus does that was started with created-timestamp-zero-ingestion.
	return &storage{db, engine, remote.NewWriteHandler(slog.Default(), nil, db, second, true)}, nil
}

func (s *storage) query(r *http.Request) (any, error) {
	at, err := moment(r.FormValue("time"))
	if err != nil {
		return nil, err
	}
	query, err := s.engine.NewInstantQuery(r.Context(), s.db, nil, r.FormValue("query"), at)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(r.Context())
	if result.Err != nil {
		return nil, result.Err
	}
	// What is read belongs to the query: it is written as JSON before that is closed.
	value, err := json.Marshal(result.Value)
	return map[string]any{"resultType": result.Value.Type(), "result": json.RawMessage(value)}, err
}

func (s *storage) exemplars(r *http.Request) (any, error) {
	selectors, err := parser.ParseExpr(r.FormValue("query"))
	if err != nil {
		return nil, err
	}
	querier, err := s.db.ExemplarQuerier(r.Context())
	if err != nil {
		return nil, err
	}
	return querier.Select(0, time.Now().Add(time.Hour).UnixMilli(), parser.ExtractSelectors(selectors)...)
}

func moment(seconds string) (time.Time, error) {
	if seconds == "" {
		return time.Now(), nil
	}
	value, err := strconv.ParseFloat(seconds, 64)
	return time.UnixMilli(int64(value * 1000)), err
}

func answered(ask func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer := map[string]any{"status": "success"}
		data, err := ask(r)
		if err != nil {
			answer = map[string]any{"status": "error", "error": err.Error()}
			w.WriteHeader(http.StatusUnprocessableEntity)
		} else {
			answer["data"] = data
		}
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 {
		return errors.New("two arguments are needed: the address to listen on and the directory of the data")
	}
	s, err := open(arguments[1])
	if err != nil {
		return err
	}
	http.Handle("/api/v1/write", s.written)
	http.Handle("/api/v1/query", answered(s.query))
	http.Handle("/api/v1/query_exemplars", answered(s.exemplars))
	http.HandleFunc("/-/ready", func(http.ResponseWriter, *http.Request) {})
	return http.ListenAndServe(arguments[0], nil)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		slog.Error("prometheus", "error", err)
		os.Exit(1)
	}
}
