package samba

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// freeAddress finds a loopback address on which nobody listens where a controller will. Linux answers for all of 127.0.0.0/8.
func freeAddress() (string, error) {
	for range 20 {
		address := fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254))
		if free(address, "389") && free(address, "636") && free(address, "3268") && free(address, "3269") {
			return address, nil
		}
	}
	return "", errors.New("samba: no loopback address is free for ports 389 and 636; binding to them needs root")
}

func free(address, port string) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(address, port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
