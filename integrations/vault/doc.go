// Package vault keeps ekeys by a KMS: the transit secrets engine of a HashiCorp Vault or OpenBao server. It also reads the secrets that
// are configured as "vault:path#field".
//
// There is one transit key per tenant, derived (so that what it wraps is bound to a context) and not exportable. A generation of the
// ekey is a data key that the server makes and wraps by itself; its plain form is seen first when a worker asks for it, and Holdfast
// stores the wrapped form only. The context binds it to tenant, repository and generation: a wrapped ekey that is put in another's place
// does not open. What does not bind is the associated_data of a data key: servers ignore it without a word.
//
// Every generation after the first begins with a rotation of the transit key. So a replaced generation is made unobtainable by raising
// the key's min_decryption_version past it, and all of them at once by destroying the key.
//
// Two logins keep apart who may do what: workers decrypt and re-wrap, provisioning makes, rotates and destroys. The policies of both are
// in deploy/vault.
package vault
