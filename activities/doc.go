// Package activities holds the side effects of Holdfast's workflows, behind small interfaces that are declared here
// (ports.go) and satisfied by the adapters in integrations/.
//
// One struct per concern holds its dependencies; workflows refer to its methods through a nil pointer. A method's name tells whether
// it may run twice: Ensure…, Observe…, Check… and Read… may at any time; Start…, Finish…, Apply… and Raise… recognise what they did
// before by the ids in their input. All errors leave through fail (errors.go), which turns what was classified once into retry, stop
// or come back at a given distance.
package activities
