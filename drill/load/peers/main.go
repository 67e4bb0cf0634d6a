// Command peers sends load with fortio's library, for the benchmark of
// drill/load: fortio's own command can't be built without modules that have
// nothing to do with load. Its module also pins k6, whose command is built as it
// is. Nothing of Nines uses either.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"fortio.org/fortio/fhttp"
	"fortio.org/log"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	url := flag.String("url", "", "where to send requests")
	rate := flag.Float64("rate", 100, "requests a second")
	length := flag.Duration("length", time.Second, "how long")
	clients := flag.Int("clients", 64, "threads, each with a connection")
	uniform := flag.Bool("uniform", false, "spread the threads over time")
	flag.Parse()

	log.SetLogLevelQuiet(log.Error)
	var options fhttp.HTTPRunnerOptions
	options.Init(*url)
	options.QPS, options.Duration, options.NumThreads, options.Uniform = *rate, *length, *clients, *uniform
	options.RunnerOptions.Resolution = 0.00001 // seconds
	options.Percentiles = []float64{50, 99}
	options.Out = io.Discard
	options.HTTPReqTimeOut = 2 * time.Second
	result, err := fhttp.RunHTTPTest(&options)
	if err != nil {
		return fmt.Errorf("run fortio: %w", err)
	}
	histogram := result.DurationHistogram
	if len(histogram.Percentiles) != 2 {
		return errors.New("fortio told no percentiles")
	}
	report := struct {
		Rate     float64
		P50, P99 time.Duration
		Failed   int64
	}{
		Rate:   float64(result.RetCodes[200]) / result.ActualDuration.Seconds(),
		P50:    time.Duration(histogram.Percentiles[0].Value * float64(time.Second)),
		P99:    time.Duration(histogram.Percentiles[1].Value * float64(time.Second)),
		Failed: histogram.Count - result.RetCodes[200],
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}
