package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	cloudprovider "k8s.io/cloud-provider"
)

// routes answers the route controller.
type routes struct{ fabric Fabric }

// ListRoutes calls a route a blackhole when its machine is gone or has another
// address, so that the controller replaces it.
func (r routes) ListRoutes(ctx context.Context, _ string) ([]*cloudprovider.Route, error) {
	all, err := r.fabric.Routes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	machines, err := r.fabric.Machines(ctx)
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	address := map[string]netip.Addr{}
	for _, machine := range machines {
		address[machine.Name] = machine.Address
	}
	list := make([]*cloudprovider.Route, 0, len(all))
	for _, route := range all {
		list = append(list, &cloudprovider.Route{
			Name:            route.Name,
			TargetNode:      types.NodeName(route.Node),
			DestinationCIDR: route.PodCIDR.String(),
			Blackhole:       address[route.Node] != route.NextHop,
		})
	}
	return list, nil
}

func (r routes) CreateRoute(ctx context.Context, _, _ string, route *cloudprovider.Route) error {
	pods, err := netip.ParsePrefix(route.DestinationCIDR)
	if err != nil {
		return fmt.Errorf("route to node %s: %w", route.TargetNode, err)
	}
	machines, err := r.fabric.Machines(ctx)
	if err != nil {
		return fmt.Errorf("list machines: %w", err)
	}
	name := string(route.TargetNode)
	for _, machine := range machines {
		if machine.Name == name {
			return r.fabric.CreateRoute(ctx, Route{Name: routeName(name, pods), Node: name, PodCIDR: pods, NextHop: machine.Address})
		}
	}
	return fmt.Errorf("route %s to node %s: %w", pods, name, cloudprovider.InstanceNotFound)
}

func (r routes) DeleteRoute(ctx context.Context, _ string, route *cloudprovider.Route) error {
	pods, err := netip.ParsePrefix(route.DestinationCIDR)
	if err != nil {
		return fmt.Errorf("route to node %s: %w", route.TargetNode, err)
	}
	return r.fabric.DeleteRoute(ctx, pods)
}

// routeName tells the old from the new while a node changes its network.
func routeName(node string, pods netip.Prefix) string {
	return node + "-" + strings.NewReplacer(".", "-", "/", "-", ":", "-").Replace(pods.String())
}

// found turns "not found" into an answer.
func found(err error) (bool, error) {
	if errors.Is(err, cloudprovider.InstanceNotFound) {
		return false, nil
	}
	return err == nil, err
}
