// Package sandbox holds local servers that stand for what cannot be had here: a Microsoft 365 tenant (Graph and its token
// endpoint) and an LDAP directory, both over TLS. They speak the real protocols, misbehave on demand like the real ones,
// and are made from a seed, so that demo, tests and benchmarks meet the same company every time.
package sandbox

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Person is one person of a sandbox company. The LDAP directory and the Microsoft 365 tenant of one company show the same people.
type Person struct {
	// EntryUUID is the directory's immutable id, GraphID the one in Microsoft 365.
	EntryUUID  string
	GraphID    string
	UID        string // login name
	GivenName  string
	Surname    string
	Mail       string // empty when NoMail
	UPN        string
	Department string
	EmployeeID string
	Disabled   bool
	NoMail     bool // in the directory without a mail attribute, and unknown to Microsoft 365
	NoMailbox  bool // in Microsoft 365, but without a mailbox and drive
}

// DisplayName is "Given Surname".
func (p Person) DisplayName() string { return p.GivenName + " " + p.Surname }

var (
	givenNames  = strings.Fields("Anna Bela Chen Dara Emil Fatima Goran Hana Ivo Jana Kofi Lea Mira Nils Olga Pavel Qin Rosa Sven Tara Uma Viktor Wanda Ximena Yusuf Zoe")
	surnames    = strings.Fields("Albrecht Bauer Çelik Dvořák Eriksen Fontaine García Horvat Ivanova Jensen Kowalski Lindqvist Moreau Nakamura O'Neill Petrov Quist Rossi Søndergaard Tanaka Ullmann Vukić Weber Xu Yılmaz Zhang")
	departments = []string{"Sales", "Engineering", "Finance", "People & Culture", "Legal", "Support"}
)

// People makes n people of a company with the mail domain, the same for the same seed. Of every 25, the 23rd is disabled, the 24th has
// no mail attribute and the 25th no mailbox.
func People(seed uint64, n int, domain string) []Person {
	r := rand.New(rand.NewPCG(seed, 0x70656f706c65))
	people := make([]Person, n)
	for i := range people {
		p := Person{
			EntryUUID: uuidFrom(r), GraphID: uuidFrom(r),
			GivenName:  givenNames[i%len(givenNames)],
			Surname:    surnames[r.IntN(len(surnames))],
			Department: departments[r.IntN(len(departments))],
			EmployeeID: fmt.Sprintf("E%06d", i+1),
			Disabled:   i%25 == 22, NoMail: i%25 == 23, NoMailbox: i%25 == 24,
		}
		p.UID = strings.ToLower(p.GivenName)
		if i >= len(givenNames) {
			p.UID += fmt.Sprint(i)
		}
		p.UPN = p.UID + "@" + domain
		if !p.NoMail {
			p.Mail = p.UPN
		}
		people[i] = p
	}
	return people
}

func uuidFrom(r *rand.Rand) string {
	a, b := r.Uint64(), r.Uint64()
	a = a&^uint64(0xf000) | 0x4000
	b = b&^(uint64(3)<<62) | uint64(2)<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", a>>32, a>>16&0xffff, a&0xffff, b>>48, b&0xffffffffffff)
}
