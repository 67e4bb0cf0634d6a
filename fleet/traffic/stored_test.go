package traffic

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/nines-ha/nines/drill/load"
	"github.com/nines-ha/nines/fleet/vehicle/api"
	"github.com/nines-ha/nines/fleet/vehicle/store"
	"github.com/nines-ha/nines/fleet/vehicle/storetest"
	"github.com/nines-ha/nines/record"
	"github.com/nines-ha/nines/service"
)

var server *storetest.Server

func TestMain(m *testing.M) {
	flag.Parse()
	server = storetest.Start()
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// drive sends requests of every vehicle through the real API and returns what
// the record would have.
func drive(t *testing.T, traffic *Traffic, access func() (service.StoreAccess, error), rounds int) []*record.Request {
	t.Helper()
	s, err := store.Open(t.Context(), access, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	handler := api.New(s, "test", api.Options{})
	var all []*record.Request
	var out load.Request
	for range rounds {
		for client := range traffic.Entities() {
			out = load.Request{Body: out.Body[:0]}
			traffic.Next(client, &out)
			request := httptest.NewRequestWithContext(t.Context(), out.Method, out.Path, bytes.NewReader(out.Body))
			if out.Type != "" {
				request.Header.Set("Content-Type", out.Type)
			}
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
			told := &record.Request{Op: out.Op, Status: answer.Code, Write: out.Write}
			traffic.Answered(client, &out, answer.Code, answer.Body.Bytes(), told)
			if told.Status != http.StatusOK || told.Error != "" {
				t.Fatalf("%s %s: %d %s %s\n%s", out.Method, out.Path, told.Status, told.Error, told.Detail, answer.Body)
			}
			all = append(all, told)
		}
	}
	return all
}

type thing struct {
	entity  string
	version int64
}

func readBack(t *testing.T, traffic *Traffic, access service.StoreAccess) map[thing]record.Stored {
	t.Helper()
	found := map[thing]record.Stored{}
	err := traffic.Stored(t.Context(), access, nil, func(s record.Stored) {
		key := thing{s.Entity, s.Version}
		if _, twice := found[key]; twice {
			t.Errorf("%+v is told twice", s)
		}
		found[key] = s
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestWhatIsAcknowledgedIsFound(t *testing.T) {
	access := server.Database(t)
	now, err := access()
	if err != nil {
		t.Fatal(err)
	}
	traffic := vehicles(t, Config{Seed: 11, Vehicles: 5, Run: "found"})
	told := drive(t, traffic, access, 60)
	// What others wrote is not ours to tell.
	drive(t, vehicles(t, Config{Seed: 11, Vehicles: 2, Run: "others"}), access, 3)

	var writes []*record.Write
	ops := map[string]int{}
	newest := map[string]int64{}
	for _, r := range told {
		ops[r.Op]++
		if r.Write != nil {
			if !r.Write.Acknowledged {
				t.Fatalf("%+v is not acknowledged", r.Write)
			}
			writes, newest[r.Write.Entity] = append(writes, r.Write), r.Write.Version
		}
		if r.Op == Read && r.Read.Saw != newest[r.Read.Entity] {
			t.Errorf("read %+v, and %d was the last write", r.Read, newest[r.Read.Entity])
		}
	}
	if ops[Write] == 0 || ops[Read] == 0 || ops[Range] == 0 {
		t.Fatalf("operations %v", ops)
	}
	found := readBack(t, traffic, now)
	if len(found) != len(writes) {
		t.Errorf("%d things are stored of %d writes", len(found), len(writes))
	}
	for _, w := range writes {
		if got := found[thing{w.Entity, w.Version}]; got.Sum != w.Sum || got.Copies != 1 {
			t.Errorf("%+v is stored as %+v", w, got)
		}
	}

	changed, lost := writes[3], writes[4]
	sql := "WITH v AS (SELECT id FROM vehicle WHERE vin = '%s') "
	tamper(t, now, fmt.Sprintf(sql+"UPDATE sample SET speed = coalesce(speed, 0) + 1e-9 FROM v WHERE vehicle_id = v.id AND time_ns = %d", changed.Entity, changed.Version))
	tamper(t, now, fmt.Sprintf(sql+"DELETE FROM sample USING v WHERE vehicle_id = v.id AND time_ns = %d", lost.Entity, lost.Version))
	after := readBack(t, traffic, now)
	for key, before := range found {
		got, there := after[key]
		switch key {
		case thing{changed.Entity, changed.Version}:
			if !there || got.Sum == before.Sum {
				t.Errorf("the change of %+v does not show: %+v", before, got)
			}
		case thing{lost.Entity, lost.Version}:
			if there {
				t.Errorf("%+v is there, and was deleted", got)
			}
		default:
			if got != before {
				t.Errorf("%+v became %+v", before, got)
			}
		}
	}
	tamper(t, now, "ALTER TABLE sample DROP CONSTRAINT sample_pkey")
	tamper(t, now, fmt.Sprintf("INSERT INTO sample SELECT s.* FROM sample s JOIN vehicle ON id = vehicle_id WHERE vin = '%s' AND time_ns = %d", writes[9].Entity, writes[9].Version))
	if got := readBack(t, traffic, now)[thing{writes[9].Entity, writes[9].Version}]; got.Copies != 2 {
		t.Errorf("a doubled sample is told as %+v", got)
	}
}

func tamper(t *testing.T, access service.StoreAccess, statement string) {
	t.Helper()
	conn, err := connect(t.Context(), access, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "SET default_transaction_read_only = off"); err != nil {
		t.Fatal(err)
	}
	if tag, err := conn.Exec(t.Context(), statement); err != nil || !strings.HasPrefix(statement, "ALTER") && tag.RowsAffected() != 1 {
		t.Fatalf("%s: %s, %v", statement, tag, err)
	}
}

func TestStoredFailsLoudly(t *testing.T) {
	access := server.Database(t)
	now, err := access()
	if err != nil {
		t.Fatal(err)
	}
	traffic := vehicles(t, Config{Vehicles: 1})
	nothing := func(s record.Stored) { t.Errorf("told %+v", s) }
	if err := traffic.Stored(t.Context(), now, nil, nothing); err == nil {
		t.Error("a store without a schema was read")
	}
	unverified := now
	unverified.TLS = nil
	if err := traffic.Stored(t.Context(), unverified, nil, nothing); err == nil || !strings.Contains(err.Error(), "authority") {
		t.Errorf("without TLS: %v", err)
	}
	var asked string
	dial := func(_ context.Context, _, address string) (net.Conn, error) {
		asked = address
		return nil, net.ErrClosed
	}
	named := now
	named.Host = "telemetry.stores.internal"
	err = traffic.Stored(t.Context(), named, dial, nothing)
	if err == nil || strings.Contains(err.Error(), now.Password.Reveal()) || asked != fmt.Sprintf("telemetry.stores.internal:%d", now.Port) {
		t.Errorf("dialled %q: %v", asked, err)
	}
}
