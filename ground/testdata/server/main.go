// Server is the program of the ground's test pods. Without arguments it serves
// HTTP on 8080 and repeats what it reads on standard input; with arguments it
// does one thing and ends, for "kubectl exec" into an image that has no shell.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) == 1 {
		serve()
		return
	}
	if err := once(os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func once(verb string, args []string) error {
	switch verb {
	case "get":
		body, err := get(args[0])
		fmt.Print(body)
		return err
	case "resolve":
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		addresses, err := net.DefaultResolver.LookupHost(ctx, args[0])
		fmt.Println(strings.Join(addresses, " "))
		return err
	case "write":
		return os.WriteFile(args[0], []byte(args[1]), 0o600)
	case "read":
		body, err := os.ReadFile(args[0])
		fmt.Print(string(body))
		return err
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err == nil {
			os.Exit(code)
		}
		return err
	}
	return fmt.Errorf("unknown verb %s", verb)
}

func get(url string) (string, error) {
	client := &http.Client{Timeout: 3 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return string(body), err
}

func serve() {
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println("heard:", lines.Text())
		}
	}()
	if percent, err := strconv.Atoi(os.Getenv("BURN_PERCENT")); err == nil {
		go burn(time.Duration(percent) * time.Millisecond)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "pod=%s node=%s zone=%s\n", os.Getenv("POD_NAME"), os.Getenv("NODE_NAME"), os.Getenv("ZONE"))
		if caller := r.Header.Get("X-Forwarded-Client-Cert"); caller != "" {
			fmt.Fprintf(w, "caller=%s\n", caller)
		}
	})
	log.Println("serving as", os.Getenv("POD_NAME"))
	log.Fatal(http.ListenAndServe(":8080", nil))
}

// burn works for that much of each tenth of a second.
func burn(work time.Duration) {
	for range time.Tick(100 * time.Millisecond) {
		for until := time.Now().Add(work); time.Now().Before(until); {
		}
	}
}
