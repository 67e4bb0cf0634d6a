package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os/exec"
	"strings"
	"time"
)

// A Flow is a TCP flow that the balancer remembers, and where it sends it.
type Flow struct {
	Client   netip.AddrPort `json:"client"`
	Frontend netip.AddrPort `json:"frontend"`
	Node     string         `json:"node"` // also of a backend that has left since
}

// maxListing bounds what nft may say: a full map of flows takes some 40 MB.
const maxListing = 64 << 20

// Flows lists all TCP flows that are remembered: those that live or were silent
// for less than their idle time, and for a minute those that closed. A flow is
// there from its first packet on, whether or not the backend answered.
func (p *Plane) Flows(ctx context.Context) ([]Flow, error) {
	p.mu.Lock()
	closed, nodes := p.closed, maps.Clone(p.steering.nodes)
	p.mu.Unlock()
	if closed {
		return nil, errors.New("list flows: the plane is closed")
	}
	ctx, cancel := context.WithTimeout(ctx, nftTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.nft, append([]string{"-j", "list", "map"}, append(strings.Fields(table), "flows")...)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("list flows: %w", err)
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := p.router.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("list flows: %w", err)
	}
	flows, err := readFlows(io.LimitReader(out, maxListing), nodes)
	if err != nil {
		cancel() // who does not read to the end must not wait for it
	}
	if waited := cmd.Wait(); waited != nil && (err == nil || complaint.Len() > 0) {
		if strings.Contains(complaint.String(), "No such file") {
			return nil, nil // no balancer was ever applied
		}
		err = fmt.Errorf("%w: %s", waited, firstLines(complaint.String(), 3))
	}
	if err != nil {
		return nil, fmt.Errorf("list flows: %w", err)
	}
	return flows, nil
}

// readFlows reads nft's JSON element by element, since all of it may be large.
func readFlows(listing io.Reader, nodes map[int]string) ([]Flow, error) {
	decoder := json.NewDecoder(listing)
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return nil, nil // a map without elements
		}
		if err != nil {
			return nil, err
		}
		if token == "elem" {
			break
		}
	}
	if _, err := decoder.Token(); err != nil { // [
		return nil, err
	}
	var flows []Flow
	for decoder.More() {
		f, mark, err := readFlow(decoder)
		if err != nil {
			return nil, err
		}
		f.Node = nodes[int(mark&maxIndex)]
		flows = append(flows, f)
	}
	_, err := io.Copy(io.Discard, io.MultiReader(decoder.Buffered(), listing))
	return flows, err
}

// readFlow reads [{"elem": {"val": {"concat": [address, port, address, port]}, …}}, mark].
func readFlow(decoder *json.Decoder) (f Flow, mark uint32, err error) {
	var key struct {
		Elem struct {
			Val struct {
				Concat []json.RawMessage `json:"concat"`
			} `json:"val"`
		} `json:"elem"`
	}
	pair := []any{&key, &mark}
	if err := decoder.Decode(&pair); err != nil {
		return f, 0, err
	}
	parts := key.Elem.Val.Concat
	if len(parts) != 4 {
		return f, 0, fmt.Errorf("nft told a flow of %d parts", len(parts))
	}
	if f.Client, err = addrPort(parts[0], parts[1]); err != nil {
		return f, 0, err
	}
	f.Frontend, err = addrPort(parts[2], parts[3])
	return f, mark, err
}

func addrPort(address, port json.RawMessage) (netip.AddrPort, error) {
	var a netip.Addr
	var n uint16
	if err := errors.Join(json.Unmarshal(address, &a), json.Unmarshal(port, &n)); err != nil {
		return netip.AddrPort{}, fmt.Errorf("nft told a flow of %s:%s: %w", address, port, err)
	}
	return netip.AddrPortFrom(a, n), nil
}
